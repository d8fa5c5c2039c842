"""The states of a model on a neuron and the moves between them. Pure.

preparing -> starting -> ready <-> recovering
any of them -> failed
any of them but failed -> unloading -> unloaded
unloading -> asleep -> starting, unloading or unloaded
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import final

from transports.schemas.fleet import ModelState


class ModelPhase(StrEnum):
    """Where a model is in its life; the words that users and gateways see."""

    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    UNLOADING = "unloading"
    UNLOADED = "unloaded"
    ASLEEP = "asleep"
    FAILED = "failed"


class InvalidTransitionError(Exception):
    """A move that the table does not have: a bug in the Model actor."""


_MOVES: dict[ModelPhase, frozenset[ModelPhase]] = {
    ModelPhase.PREPARING: frozenset({ModelPhase.STARTING, ModelPhase.FAILED, ModelPhase.UNLOADING}),
    ModelPhase.STARTING: frozenset({ModelPhase.READY, ModelPhase.FAILED, ModelPhase.UNLOADING}),
    ModelPhase.READY: frozenset({ModelPhase.RECOVERING, ModelPhase.FAILED, ModelPhase.UNLOADING}),
    ModelPhase.RECOVERING: frozenset({ModelPhase.READY, ModelPhase.FAILED, ModelPhase.UNLOADING}),
    ModelPhase.FAILED: frozenset(),
    ModelPhase.UNLOADING: frozenset({ModelPhase.UNLOADED, ModelPhase.ASLEEP}),
    ModelPhase.ASLEEP: frozenset({ModelPhase.STARTING, ModelPhase.UNLOADING, ModelPhase.UNLOADED}),
    ModelPhase.UNLOADED: frozenset(),
}


@final
class ModelLifecycle:
    """One model's phase. Ready takes two things: an engine address and a loaded group."""

    def __init__(self) -> None:
        self.phase = ModelPhase.PREPARING
        self.endpoint = ""
        self._group_ready = False

    def move(self, to: ModelPhase) -> None:
        """Go to another phase.

        Raises:
            InvalidTransitionError: The table has no such move.
        """
        if to not in _MOVES[self.phase]:
            msg = f"a model cannot go from {self.phase} to {to}"
            raise InvalidTransitionError(msg)
        self.phase = to

    def prepared(self) -> None:
        """The files are complete."""
        self.move(ModelPhase.STARTING)

    def engine_up(self, endpoint: str) -> None:
        """The engine's data plane listens."""
        self.endpoint = endpoint
        self._settle()

    def group_ready(self) -> None:
        """Every rank of the current epoch has loaded."""
        self._group_ready = True
        self._settle()

    def asleep(self) -> None:
        """Every rank has given up its device; the engine listens on."""
        self.move(ModelPhase.ASLEEP)
        self._group_ready = False

    def engine_gone(self) -> None:
        """The engine died; whatever it served is lost."""
        self.endpoint = ""
        self._unsettle()

    def group_gone(self) -> None:
        """The epoch broke; the engine holds its requests until the next one is ready."""
        self._group_ready = False
        self._unsettle()

    def _settle(self) -> None:
        if self.endpoint and self._group_ready and self.phase in _COMING:
            self.move(ModelPhase.READY)

    def _unsettle(self) -> None:
        if self.phase is ModelPhase.READY:
            self.move(ModelPhase.RECOVERING)


_COMING = frozenset({ModelPhase.STARTING, ModelPhase.RECOVERING})
_OVER = frozenset({ModelPhase.FAILED, ModelPhase.UNLOADED})


def holding(models: Iterable[ModelState]) -> frozenset[str]:
    """Return the models that hold devices, or are about to."""
    return frozenset(model.id for model in models if model.state not in _OVER)
