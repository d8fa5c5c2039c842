"""The rules of one generation: lease, engine, events, settlement. Pure.

Whatever happens in whatever order: the client gets at most one terminal event, and exactly one
unless it left; every lease that was granted is settled exactly once; an engine whose link is lost
before anything was produced is replaced once, through a new lease, without the client noticing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from cortex_actors.dialects.events import Answer, GenerationEvent, Started
from transports.failures import FailureCode
from transports.schemas.fleet import Lease, LeaseSettled, ModelState
from transports.schemas.generate import TextDelta
from transports.schemas.link import Failure

DEADLINE: Final = "deadline"
"""The reason of ``transports.link.Lost`` when it was the call's own time that ran out."""

MAX_RETRIES: Final = 1


@dataclass(frozen=True, slots=True)
class AskLease:
    """Send a LeaseRequest to the daemon."""


@dataclass(frozen=True, slots=True)
class AskEngine:
    """Connect to the lease's engine, unless that is done, and send it the Generate."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Cancel the question in flight, whoever was asked; its terminal event still comes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Give the client's thread an event."""

    event: GenerationEvent


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell the daemon what became of its lease."""

    settled: LeaseSettled


FlowEffect = AskLease | AskEngine | CancelCall | Emit | Settle
Effects = tuple[FlowEffect, ...]


class Phase(Enum):
    """Whose answer is awaited."""

    LEASING = "leasing"
    GENERATING = "generating"
    ENDED = "ended"


@final
class GenerationFlow:
    """One generation's state. ``now`` is monotonic seconds throughout."""

    def __init__(self, model: str, now: float) -> None:
        self._model = model
        self._began = now
        self._phase = Phase.LEASING
        self._lease: Lease | None = None
        self._retries = 0
        self._loading: ModelState | None = None
        self._started = False
        self._first_token_s = 0.0
        self._tokens = 0
        self._told_the_end = False
        self._cancelled = False

    @property
    def phase(self) -> Phase:
        """Where it is; ENDED is final."""
        return self._phase

    def begin(self) -> Effects:
        """Ask for the first lease."""
        return (AskLease(),)

    def loading(self, state: ModelState) -> Effects:
        """Note how far the cold load is that the lease waits for."""
        self._loading = state
        return self._emit(state)

    def leased(self, lease: Lease, now: float) -> Effects:
        """Go on to the engine, or give the lease back when nobody wants it any more."""
        self._lease = lease
        if self._cancelled:
            return self._end("cancelled", now)
        self._phase = Phase.GENERATING
        started: Effects = ()
        if not self._started:
            self._started = True
            started = self._emit(Started(lease.model, lease.neuron))
        return (*started, AskEngine(lease))

    def piece(self, delta: TextDelta, now: float) -> Effects:
        """Pass text on."""
        if not self._first_token_s:
            self._first_token_s = now - self._began
        self._tokens += len(delta.tokens)
        return self._emit(delta)

    def done(self, done: Answer, now: float) -> Effects:
        """End well."""
        outcome = "cancelled" if self._cancelled else "completed"
        return (*self._emit_last(done), *self._end(outcome, now, done))

    def failed(self, failure: Failure, now: float) -> Effects:
        """End with what the daemon or the engine answered."""
        return (*self._emit_last(failure), *self._end(failure.code, now))

    def lost(self, reason: str, detail: str, now: float) -> Effects:
        """Take it that no answer will come: try another lease, or end with the right words."""
        failure = self._why_lost(reason, detail)
        if self._may_retry(reason):
            self._retries += 1
            settled = self._settle(failure.code, now)
            self._phase = Phase.LEASING
            return (*settled, AskLease())
        return self.failed(failure, now)

    def cancel(self, failure: Failure | None) -> Effects:
        """Stop it. The client is told ``failure``; None when it is the client who left."""
        if self._phase is Phase.ENDED or self._cancelled:
            return ()
        told = () if failure is None else self._emit_last(failure)
        self._cancelled = True
        self._told_the_end = True
        reason = "client_gone" if failure is None else failure.code
        return (*told, CancelCall(reason))

    def _may_retry(self, reason: str) -> bool:
        return (
            self._phase is Phase.GENERATING
            and not self._first_token_s
            and not self._cancelled
            and self._retries < MAX_RETRIES
            and reason != DEADLINE
        )

    def _why_lost(self, reason: str, detail: str) -> Failure:
        facts = {"reason": reason, "detail": detail} if detail else {"reason": reason}
        if reason != DEADLINE:
            to = "the model's engine" if self._phase is Phase.GENERATING else "the daemon"
            return Failure(FailureCode.LINK_LOST, f"the connection to {to} was lost", detail=facts)
        if self._phase is Phase.LEASING and self._loading is not None:
            return Failure(
                FailureCode.MODEL_LOADING,
                f"model {self._model!r} is still loading ({self._loading.progress:.0%})",
                param="model",
            )
        return Failure(
            FailureCode.DEADLINE_EXCEEDED, "the request was not finished in time", detail=facts
        )

    def _emit(self, event: GenerationEvent) -> Effects:
        return () if self._told_the_end else (Emit(event),)

    def _emit_last(self, event: GenerationEvent) -> Effects:
        last = self._emit(event)
        self._told_the_end = True
        return last

    def _end(self, outcome: str, now: float, done: Answer | None = None) -> Effects:
        self._phase = Phase.ENDED
        return self._settle("cancelled" if self._cancelled else outcome, now, done)

    def _settle(self, outcome: str, now: float, done: Answer | None = None) -> Effects:
        lease, self._lease = self._lease, None
        if lease is None:
            return ()
        return (
            Settle(
                LeaseSettled(
                    lease=lease.lease,
                    outcome=str(outcome),
                    prompt_tokens=done.prompt_tokens if done else 0,
                    completion_tokens=done.completion_tokens if done else self._tokens,
                    first_token_s=self._first_token_s,
                    duration_s=now - self._began,
                )
            ),
        )
