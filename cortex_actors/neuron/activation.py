"""The Activation actor: loads the default models, one after the other, in the configured order."""

from __future__ import annotations

import logging
from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import ActivationPending
from cortex_actors.serving.messages import EnsureLoaded, LoadFinished

_log = logging.getLogger("cortex.activation")


@final
class Activation(SupervisedActor):
    """A model that cannot be loaded is reported and does not hold up the next.

    ``reporter`` is told which ones still wait for their turn.
    """

    def __init__(
        self, default_models: tuple[str, ...], models: ActorRef, reporter: ActorRef
    ) -> None:
        super().__init__()
        self._waiting = list(default_models)
        self._models = models
        self._reporter = reporter

    def on_start(self) -> None:
        """Begin with the first."""
        self._next()

    def summary(self) -> str:
        """What is still to come."""
        return f"pending={','.join(self._waiting) or 'none'}"

    @handles(LoadFinished)
    def _load_finished(self, message: LoadFinished) -> None:
        if message.failure is not None:
            _log.error("default model=%s: %s", message.model, message.failure.message)
        if message.model in self._waiting:
            self._waiting.remove(message.model)
            self._next()

    def _next(self) -> None:
        # The first is under way, and shown as what it is.
        self._reporter.notify(ActivationPending(tuple(self._waiting[1:])))
        if self._waiting:
            self._models.notify(EnsureLoaded(self._waiting[0], self.ref))
