"""One generation on the wire: carries out what its flow decides.

The flow and everything with an underscore here run on the reactor's thread; ``take`` and
``close`` are for the one thread that serves the request.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import msgspec

from cortex_actors.dialects.events import (
    Answer,
    Counted,
    Embedded,
    GenerationEvent,
    Question,
    principal_of,
)
from cortex_actors.http.backend import GenerationTimes
from cortex_actors.http.daemon_link import DaemonLink
from cortex_actors.http.engine_links import EngineLinks
from cortex_actors.http.event_queue import EventQueue
from cortex_actors.http.generation_flow import (
    AskEngine,
    AskLease,
    CancelCall,
    Effects,
    Emit,
    GenerationFlow,
    Phase,
    Settle,
)
from cortex_actors.http.kept_leases import HeldLease
from cortex_actors.http.leases import Leases
from cortex_actors.http.progress_watch import Deadlines
from cortex_actors.http.prompt_prefix import expected_tokens, prefix_hashes, prompt_bytes
from cortex_actors.http.retry_budget import RetryBudget
from cortex_actors.serving.abilities import EMBED, GENERATE
from transports.clock import Clock
from transports.errors import Backpressure, TransportError
from transports.failures import FailureCode
from transports.link import Call, CallEvent, Chunk, Completed, Failed, Link, Lost, Progress
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled, ModelState
from transports.schemas.generate import (
    CountTokens,
    Embed,
    EmbedDone,
    Generate,
    GenerateDone,
    StillRunning,
    TokensCounted,
)
from transports.schemas.link import Failure

_LOG = logging.getLogger("cortex.http")

_LAST = Answer | Failure

_REACTOR_PATIENCE_S = 5.0
"""How long after a deadline the reactor may stay silent before its reader stops waiting."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a generation's messages go."""

    reactor: Reactor
    daemon: DaemonLink
    leases: Leases
    engines: EngineLinks
    clock: Clock
    retries: RetryBudget = field(default_factory=RetryBudget)


@final
class RoutedGeneration:
    """A ``Generation`` that asks the daemon for a lease and streams from the engine it names."""

    def __init__(
        self,
        question: Question,
        routes: Routes,
        deadlines: Deadlines,
        on_close: Callable[[], None],
        *,
        streamed: bool = True,
    ) -> None:
        now = routes.clock.now()
        self._question = _seeded(question)
        self._routes = routes
        self._deadlines = deadlines
        self._on_close = on_close
        self._tokens, self._prefix = _cost_and_prefix(question)
        routes.retries.deposit()
        self._flow = GenerationFlow(
            question.model,
            now,
            resumable=isinstance(question, Generate) and question.n == 1,
            may_retry=routes.retries.withdraw,
            deadlines=deadlines,
        )
        self._queue = EventQueue(streamed=streamed)
        self._trace = _trace_of(question.request_id)
        self._call: Call | None = None
        self._held: HeldLease | None = None
        self._closed = False
        self._read_to_the_end = False

    def fileno(self) -> int:
        """Return a descriptor that is readable while events wait to be taken."""
        return self._queue.fileno()

    @property
    def times(self) -> GenerationTimes:
        """When it got how far."""
        return self._flow.times

    def take(self) -> tuple[GenerationEvent, ...]:
        """Return all events that are ready, without waiting."""
        events = self._queue.take()
        if not events:
            return self._overdue()
        self._read_to_the_end = bool(events) and isinstance(events[-1], _LAST)
        return events

    def close(self) -> None:
        """Cancel what still runs and free the slot; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.close()
        # PERF: nothing runs any more, so there is nothing to wake the reactor for.
        if not self._read_to_the_end:
            self._routes.reactor.call_soon(lambda: self.cancel(None))
        self._on_close()

    def begin(self) -> None:
        """Start. Reactor's thread."""
        self._apply(self._flow.begin())

    def cancel(self, failure: Failure | None) -> None:
        """Stop, and tell the client why unless it has left. Reactor's thread."""
        self._apply(self._flow.cancel(failure, self._now()))

    @property
    def ended(self) -> bool:
        """Whether nothing is in flight any more. Reactor's thread."""
        return self._flow.phase is Phase.ENDED

    def _overdue(self) -> tuple[GenerationEvent, ...]:
        # PERF: readers look each second at the latest, so no request needs a timer of its own.
        overdue_s = self._flow.watch.overdue_s(self._now())
        if overdue_s > _REACTOR_PATIENCE_S:
            return (self._flow.watch.failure(),)
        if overdue_s > 0:
            self._routes.reactor.call_soon(lambda: self._apply(self._flow.give_up(self._now())))
        return ()

    def _now(self) -> float:
        return self._routes.clock.now()

    def _apply(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case AskLease():
                    self._ask_lease(effect)
                case AskEngine():
                    self._find_engine(effect)
                case CancelCall(reason):
                    self._cancel_call(reason)
                case Emit(event):
                    if self._queue.put(event):
                        self._routes.reactor.call_soon(self._queue.wake)
                case Settle(settled):
                    self._settle(settled)

    def _ask_lease(self, asked: AskLease) -> None:
        question = self._question
        wanted = LeaseRequest(
            question.request_id,
            question.model,
            principal_of(question),
            avoid=asked.avoid,
            wait=asked.wait,
            tokens=self._tokens,
            prefix=self._prefix,
            task=EMBED if isinstance(question, Embed) else GENERATE,
        )
        self._held = self._routes.leases.take(wanted)
        if self._held is not None:
            self._apply(self._flow.leased(self._held.lease, self._now()))
            return
        try:
            self._call = self._routes.daemon.request(
                wanted,
                lambda event: self._on_lease_event(event, wanted),
                deadline_s=self._deadlines.lease_s,
                trace=self._trace,
            )
        except Backpressure:
            self._fail(FailureCode.OVERLOADED, "the daemon has too many questions to answer")
        except TransportError:
            self._fail(FailureCode.MODEL_UNAVAILABLE, "the daemon is not reachable; try again")

    def _find_engine(self, asked: AskEngine) -> None:
        self._call = None
        self._routes.engines.use(
            asked.lease.endpoint,
            asked.lease.server_key,
            lambda link: self._ask_engine(link, asked),
            self._engine_unreachable,
        )

    def _ask_engine(self, link: Link, asked: AskEngine) -> None:
        if self.ended:
            return
        question = msgspec.structs.replace(self._question, model=asked.lease.model)
        if isinstance(question, Generate) and asked.resume:
            question = msgspec.structs.replace(question, resume=asked.resume)
        try:
            self._call = link.request(
                question,
                self._on_engine_event,
                deadline_s=self._engine_budget_s(question),
                trace=self._trace,
            )
        except TransportError as ex:
            self._engine_unreachable(ex.code, str(ex))

    def _engine_unreachable(self, reason: str, detail: str) -> None:
        if not self.ended:
            self._apply(self._flow.lost(reason, detail, self._now()))

    def _cancel_call(self, reason: str) -> None:
        if self._call is not None:
            self._call.cancel(reason)
        else:
            self._apply(self._flow.lost("cancelled", reason, self._now()))

    def _on_lease_event(self, event: CallEvent, wanted: LeaseRequest) -> None:
        match event:
            case Progress(ModelState() as state):
                self._apply(self._flow.loading(state))
            case Completed(Lease() as lease):
                self._held = self._routes.leases.granted(lease, wanted)
                self._apply(self._flow.leased(lease, self._now()))
            case _:
                self._on_common_event(event)

    def _on_engine_event(self, event: CallEvent) -> None:
        match event:
            case Chunk(_, delta):
                self._apply(self._flow.piece(delta, self._now()))
            case Progress(StillRunning()):
                self._flow.watch.progressed(self._now())
            case Completed(GenerateDone() as done):
                self._apply(self._flow.done(done, self._now()))
            case Completed(EmbedDone() as vectors, (rows,)):
                embedded = Embedded(vectors.dimensions, vectors.prompt_tokens, rows)
                self._apply(self._flow.done(embedded, self._now()))
            case Completed(TokensCounted(prompt_tokens=tokens)):
                self._apply(self._flow.done(Counted(tokens), self._now()))
            case _:
                self._on_common_event(event)

    def _on_common_event(self, event: CallEvent) -> None:
        match event:
            case Failed(failure):
                self._apply(self._flow.failed(failure, self._now()))
            case Lost(reason, detail):
                self._apply(self._flow.lost(reason, detail, self._now()))
            case Completed(body):
                self._fail(FailureCode.INTERNAL, f"an unexpected answer came: {_name(body)}")
            case _:
                _LOG.debug("request id=%s ignored=%s", self._question.request_id, _name(event))

    def _fail(self, code: FailureCode, message: str) -> None:
        self._apply(self._flow.failed(Failure(code, message), self._now()))

    def _settle(self, settled: LeaseSettled) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._routes.leases.settle(held, settled)

    def _engine_budget_s(self, question: Question) -> float:
        # A text may take as long as it goes on, so its engine is told of no end.
        return math.inf if isinstance(question, Generate) else self._deadlines.first_token_s


def _cost_and_prefix(question: Question) -> tuple[int, tuple[int, ...]]:
    match question:
        case Generate():
            prompt = prompt_bytes(question)
            return expected_tokens(question, prompt), prefix_hashes(prompt)
        case Embed():
            return expected_tokens(question, b""), ()
        case CountTokens():
            return 1, ()


def _seeded(question: Question) -> Question:
    """Return the question with a seed, so that any engine would go on as the first began."""
    if not isinstance(question, Generate) or question.sampling.seed is not None:
        return question
    sampling = msgspec.structs.replace(question.sampling, seed=random.getrandbits(63))
    return msgspec.structs.replace(question, sampling=sampling)


def _trace_of(request_id: str) -> int:
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _name(thing: Body | CallEvent) -> str:
    return type(thing).__name__
