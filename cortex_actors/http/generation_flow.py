"""The rules of one generation: lease, engine, events, settlement. Pure.

Whatever happens in whatever order: the client gets at most one terminal event, and exactly one
unless it left; every lease that was granted is settled exactly once; no output token is told twice
or left out.

A request that an engine refuses or loses before its first output is tried elsewhere, through a new
lease, without the client noticing. One whose engine dies later goes on elsewhere after the tokens
that the client has, if it has a single choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

import msgspec

from cortex_actors.dialects.events import (
    Answer,
    Counted,
    Embedded,
    GenerationEvent,
    Started,
    figures_of,
)
from cortex_actors.http.backend import GenerationTimes
from cortex_actors.http.progress_watch import Deadlines, ProgressWatch
from cortex_actors.http.text_progress import TextProgress
from cortex_actors.serving.load_eta import still_loading
from transports.failures import FailureCode
from transports.schemas.fleet import Lease, LeaseSettled, ModelState
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure, GenerationFigures

DEADLINE: Final = "deadline"
"""The reason of ``transports.link.Lost`` when it was the call's own time that ran out."""

MAX_RETRIES: Final = 3

_DEATHS: Final = frozenset(
    {
        FailureCode.LINK_LOST,
        FailureCode.WORKER_DIED,
        FailureCode.DEVICE_LOST,
        FailureCode.SHUTTING_DOWN,
    }
)
"""Failures of an engine, not of the request: it can go on elsewhere, whatever it has come to."""

_REFUSALS: Final = frozenset(
    {FailureCode.OVERLOADED, FailureCode.MODEL_UNAVAILABLE, FailureCode.OUT_OF_MEMORY}
)
"""What another replica need not say."""


@dataclass(frozen=True, slots=True)
class AskLease:
    """Send a LeaseRequest to the daemon, rather not for the engines to ``avoid``."""

    avoid: tuple[str, ...] = ()
    wait: bool = True


@dataclass(frozen=True, slots=True)
class AskEngine:
    """Connect to the lease's engine, unless that is done, and send it the question.

    The client has the output tokens of ``resume`` already.
    """

    lease: Lease
    resume: tuple[int, ...] = ()


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
    """One generation's state. ``now`` is monotonic seconds throughout.

    ``watch`` says when news of it are overdue. One that is ``resumable`` has a single choice.
    ``may_retry`` is asked for each new try.
    """

    def __init__(
        self,
        model: str,
        now: float,
        *,
        resumable: bool = False,
        may_retry: Callable[[], bool] = lambda: True,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._model = model
        self._resumable = resumable
        self._budget = may_retry
        self.watch = ProgressWatch(deadlines or Deadlines(), now)
        self._began = now
        self._phase = Phase.LEASING
        self._lease: Lease | None = None
        self._tried: list[str] = []
        self._refusal: Failure | None = None
        self._next: Counter[int] = Counter()
        self._output: list[int] = []
        self._settled_tokens = 0
        self._progress = TextProgress()
        self._asked = now
        self._leased_s = 0.0
        self._left_at: float | None = None
        self._loading: ModelState | None = None
        self._started = False
        self._first_token_s = 0.0
        self._told_the_end = False
        self._cancelled = False

    @property
    def phase(self) -> Phase:
        """Where it is; ENDED is final."""
        return self._phase

    @property
    def times(self) -> GenerationTimes:
        """When it got how far. Any thread."""
        loaded = self._loading is not None
        return GenerationTimes(self._leased_s, self._first_token_s, loaded, self._progress.decode_s)

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
        self._leased_s = now - self._asked
        if self._cancelled:
            return self._end("cancelled", now)
        self._phase = Phase.GENERATING
        self.watch.engine_asked(now)
        started: Effects = ()
        if not self._started:
            self._started = True
            started = self._emit(Started(lease.model, lease.neuron))
        return (*started, AskEngine(lease, tuple(self._output)))

    def piece(self, delta: TextDelta, now: float) -> Effects:
        """Pass text on; an engine that repeats or leaves out a token is not believed."""
        self.watch.progressed(now)
        if not self._first_token_s:
            self._first_token_s = now - self._began
        if delta.index != self._next[delta.choice]:
            text = "the model's engine repeated output or left some out"
            return self.cancel(Failure(FailureCode.INTERNAL, text), now)
        self._progress.piece(delta, now)
        self._next[delta.choice] += len(delta.tokens)
        if self._resumable:
            self._output += delta.tokens
        return self._emit(delta)

    def done(self, done: Answer, now: float) -> Effects:
        """End well."""
        outcome = "cancelled" if self._cancelled else "completed"
        return (*self._emit_last(done), *self._end(outcome, now, done))

    def failed(self, failure: Failure, now: float) -> Effects:
        """Try elsewhere what another engine may do, or end with what was answered."""
        if self._may_go_elsewhere(failure.code):
            return self._go_elsewhere(failure, now)
        if self._phase is Phase.LEASING and self._refusal is not None:
            # Nobody else could take it: what the first one said is what helps the client.
            failure = self._refusal
        return (*self._emit_last(failure), *self._end(failure.code, now, failure))

    def lost(self, reason: str, detail: str, now: float) -> Effects:
        """Take it that no answer will come: try another lease, or end with the right words."""
        return self.failed(self._why_lost(reason, detail), now)

    def cancel(self, failure: Failure | None, now: float) -> Effects:
        """Stop it. The client is told ``failure``; None when it is the client who left."""
        if self._phase is Phase.ENDED or self._cancelled:
            return ()
        told = () if failure is None else self._emit_last(failure)
        self._cancelled = True
        # Only an engine has something to let go of.
        self._left_at = now if failure is None and self._phase is Phase.GENERATING else None
        self._told_the_end = True
        reason = "client_gone" if failure is None else failure.code
        return (*told, CancelCall(reason))

    def give_up(self, now: float) -> Effects:
        """End it if its engine's next token is overdue; that a lease is, its call tells itself."""
        awaited = self._phase is Phase.GENERATING and not self._cancelled
        if not awaited or self.watch.overdue_s(now) <= 0:
            return ()
        failure = self.watch.failure()
        told = self._emit_last(failure)
        return (*told, CancelCall(failure.code), *self._end(failure.code, now))

    def _may_go_elsewhere(self, code: str) -> bool:
        begun = bool(self._first_token_s)
        return (
            self._phase is Phase.GENERATING
            and not self._cancelled
            and (code in _DEATHS or (code in _REFUSALS and not begun))
            and (self._resumable or not begun)
            and len(self._tried) < MAX_RETRIES
            and self._budget()
        )

    def _go_elsewhere(self, failure: Failure, now: float) -> Effects:
        if self._lease is not None:
            self._tried.append(self._lease.endpoint)
        if failure.code == FailureCode.OVERLOADED:
            known = self._refusal.retry_after_s if self._refusal else None
            longest = max(failure.retry_after_s or 0.0, known or 0.0) or None
            self._refusal = msgspec.structs.replace(failure, retry_after_s=longest)
        settled = self._settle(failure.code, now, last=False, retry_after_s=failure.retry_after_s)
        self._phase = Phase.LEASING
        self._asked = now
        self.watch.lease_asked(now)
        wait = failure.code != FailureCode.OVERLOADED
        return (*settled, AskLease(tuple(self._tried), wait))

    def _why_lost(self, reason: str, detail: str) -> Failure:
        facts = {"reason": reason, "detail": detail} if detail else {"reason": reason}
        if reason != DEADLINE:
            to = "the model's engine" if self._phase is Phase.GENERATING else "the daemon"
            return Failure(FailureCode.LINK_LOST, f"the connection to {to} was lost", detail=facts)
        if self._phase is Phase.LEASING and self._loading is not None:
            return still_loading(self._model, self._loading)
        return Failure(
            FailureCode.DEADLINE_EXCEEDED, "the request was not finished in time", detail=facts
        )

    def _emit(self, event: GenerationEvent) -> Effects:
        return () if self._told_the_end else (Emit(event),)

    def _emit_last(self, event: GenerationEvent) -> Effects:
        last = self._emit(event)
        self._told_the_end = True
        return last

    def _end(self, outcome: str, now: float, end: Answer | Failure | None = None) -> Effects:
        self._phase = Phase.ENDED
        wait_s = end.retry_after_s if isinstance(end, Failure) else None
        outcome = "cancelled" if self._cancelled else outcome
        return self._settle(outcome, now, end, retry_after_s=wait_s)

    def _settle(
        self,
        outcome: str,
        now: float,
        end: Answer | Failure | None = None,
        *,
        last: bool = True,
        retry_after_s: float | None = None,
    ) -> Effects:
        lease, self._lease = self._lease, None
        if lease is None:
            return ()
        figures = self._figures(end)
        total = figures.completion_tokens
        tokens, self._settled_tokens = total - self._settled_tokens, total
        settled = LeaseSettled(
            lease=lease.lease,
            outcome=str(outcome),
            prompt_tokens=figures.prompt_tokens,
            completion_tokens=max(tokens, 0),
            first_token_s=self._first_token_s,
            duration_s=now - self._began,
            lease_s=self._leased_s,
            queue_s=figures.queue_s,
            prefill_s=figures.prefill_s,
            decode_s=figures.decode_s,
            cached_tokens=figures.cached_tokens,
            reasoning_tokens=figures.reasoning_tokens,
            cancel_s=now - self._left_at if self._left_at is not None else 0.0,
            last=last,
            gaps=self._progress.take_gaps(),
            retry_after_s=retry_after_s or 0.0,
        )
        return (Settle(settled),)

    def _figures(self, end: Answer | Failure | None) -> GenerationFigures:
        """Return what the engine counted, or what is known where it could not tell."""
        match end:
            case GenerateDone():
                return figures_of(end)
            case Failure(figures=GenerationFigures() as figures):
                return figures
            case Embedded() | Counted():
                return GenerationFigures(prompt_tokens=end.prompt_tokens)
            case _:
                return self._progress.figures()
