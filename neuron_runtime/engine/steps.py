"""The scheduler's steps on their way to the ranks, and what comes back. Engine's thread only.

A step may be several rounds: then the ranks go on by themselves with what they have drawn, and tell
of each round, so they need not wait for the engine between two of them. What could be decided
meanwhile, a seat for a newcomer or one sequence less, ends the rounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import final

from neuron_runtime.engine.epochs import Epochs
from neuron_runtime.engine.events import Events
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.outcome import GroupFailure, Ok, Outcome, RequestFailure
from transports.failures import FailureCode
from transports.schemas.body import Body
from transports.schemas.group import EndRounds, Step, StepDone

_log = logging.getLogger("cortex.engine")

DECODE_S = 10.0
PREFILL_S = 60.0


@final
class Steps:
    """At most one step is open. ``on_events`` gets what comes of each round; ``begin`` must follow.

    ``attach`` introduces the epochs that run them.
    """

    def __init__(
        self, now: Callable[[], float], scheduler: Scheduler, on_events: Callable[[Events], None]
    ) -> None:
        self._now = now
        self._scheduler = scheduler
        self._on_events = on_events
        self._epochs: Epochs | None = None
        self._to_end = 0

    def attach(self, epochs: Epochs) -> None:
        """Run steps on ``epochs`` from now on."""
        self._epochs = epochs

    def begin(self) -> None:
        """Send the next step if one can be begun; have rounds end that something waits for."""
        epochs = self._epochs
        if epochs is None:
            return
        step = self._scheduler.next_step(self._now()) if epochs.ready else None
        if step is not None:
            self._send(epochs, step)
            return
        number = self._scheduler.rounds_to_end
        if number is not None and number != self._to_end:
            self._to_end = number
            epochs.tell(EndRounds(number))

    def _send(self, epochs: Epochs, step: Step) -> None:
        prefill = any(len(part.tokens) > 1 for part in step.sequences)
        masks = self._scheduler.open_masks
        epochs.execute(
            step,
            PREFILL_S if prefill else DECODE_S,
            partial(self._closed, step),
            (masks,) if masks else (),
            self._went_on,
        )

    def _went_on(self, body: Body) -> None:
        """A round is over and the ranks are at the next."""
        step = self._scheduler.open_step
        if step is None or step.rounds == 1:
            _log.error("not counted: a round that nobody asked for")
        elif isinstance(body, StepDone) and body.step == step.step:
            self._on_events(self._scheduler.step_done(body.tokens, self._now(), more=True))

    def _closed(self, step: Step, outcome: Outcome) -> None:
        match outcome:
            case Ok(results=(StepDone(step=step.step) as first, *_)):
                self._on_events(self._scheduler.step_done(first.tokens, self._now()))
            case Ok():
                self._fail(step, FailureCode.INTERNAL, "rank 0 answered something else")
            case RequestFailure(code, message):
                self._fail(step, code, message)
            case GroupFailure():
                pass  # the group is broken, and ``group_lost`` follows

    def _fail(self, step: Step, code: str, message: str) -> None:
        ids = ",".join(dict.fromkeys(each.request.id for each in self._scheduler.stepping()))
        _log.warning("step failed step=%d requests=%s: %s", step.step, ids, message)
        self._on_events(self._scheduler.step_failed(code, message))
