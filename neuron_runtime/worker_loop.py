"""What a rank does all day: execute the operation it is sent, answer it, wait for the next.

Runs on the reactor's thread, which is the worker's main thread, so while an operation runs nothing
else does: a busy rank is judged by the operation's deadline, not by heartbeats. Between two rounds
of a step it listens.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import final

from neuron_runtime.backends.base import Backend, BackendError, DeviceLost
from neuron_runtime.drop_news import DropNews
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.faults import Faults, Phase, UnknownFault
from neuron_runtime.following_step import following
from transports.failures import FailureCode
from transports.link import Identity, IncomingRequest, Link
from transports.liveness import LivenessPolicy
from transports.news_reporter import NewsReporter
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.group import (
    CacheCleared,
    ClearCache,
    EmbedStep,
    EndRounds,
    InjectFault,
    LoadShard,
    SleepShard,
    Step,
    StepDone,
    WakeShard,
)
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.worker")

RETRY_S = 0.05
# An engine that is stopped for a while is no reason to leave: its end is told by the socket,
# and the daemon's by the death pipe.
_ENGINE_LIVENESS = LivenessPolicy(ping_s=5.0, suspect_s=30.0, down_s=120.0, busy_exempt=True)
_UNREACHABLE = frozenset({"connect_failed", "handshake_timeout"})
_DISMISSED = frozenset({"shutdown", "listener_closed"})


@final
class WorkerLoop:
    """Serves one link to the engine; when that is over, so is the process.

    Args:
        reactor: Run by the caller; stopped when there is nothing left to serve.
        me: The identity that the Launcher minted.
        backend: Executes the operations.
        faults: What to do wrong, if anything.
        connect_s: For how long to try to reach the engine, which may not have bound yet.
    """

    def __init__(
        self,
        reactor: Reactor,
        me: Identity,
        backend: Backend,
        faults: Faults,
        *,
        connect_s: float,
    ) -> None:
        self._reactor = reactor
        self._me = me
        self._backend = backend
        self._faults = faults
        self._give_up_at = reactor.now() + connect_s
        self._endpoint = ""
        self._rank = -1
        self._up = False
        self._left = False
        self._to_end = 0
        self.exit_code = ExitCode.OK

    def connect(self, endpoint: str) -> None:
        """Start to reach the engine at ``endpoint``; returns at once."""
        self._endpoint = endpoint
        self._reactor.connect(endpoint, self._me, self, liveness=_ENGINE_LIVENESS)

    def on_up(self, link: Link) -> None:
        """LinkHandler: the engine has welcomed us."""
        self._up = True
        drops = self._reactor.counters.drops
        NewsReporter(self._reactor, DropNews("rank", lambda: drops), lambda: link).start()
        _log.info("serving engine=%s inc=%d", link.peer.name, self._me.inc)

    def on_request(self, request: IncomingRequest) -> None:
        """LinkHandler: execute one operation and answer it."""
        operation = request.body
        if isinstance(operation, Step) and operation.rounds > 1:
            request.on_cancel(lambda _: self._end_rounds(operation.step))
            # Not here, for what follows shall not be in the same turn.
            self._reactor.call_soon(partial(self._begin_round, request, operation))
        else:
            self._answer(request, *self._execute(operation, request.raw))

    def _begin_round(self, request: IncomingRequest, step: Step) -> None:
        if not self._left:
            answer, _ = self._execute(step, ())
            # After a turn, so that what has been said meanwhile is heard first.
            self._reactor.call_soon(partial(self._end_round, request, step, answer))

    def _end_round(self, request: IncomingRequest, step: Step, answer: Body) -> None:
        last = step.rounds == 1 or step.step == self._to_end
        if last or not isinstance(answer, StepDone):
            self._answer(request, answer)
            return
        request.progress(answer)
        if self._faults.armed:
            self._trip(Phase.REPLIED)
        self._begin_round(request, following(step, answer.tokens))

    def _end_rounds(self, step: int) -> None:
        self._to_end = step

    def _answer(self, request: IncomingRequest, answer: Body, rows: bytes = b"") -> None:
        if self._left:
            return  # its end is the answer
        if self._faults.swallows_reply():
            _log.warning("reply dropped on purpose seq=%d", request.seq)
        elif isinstance(answer, Failure):
            request.fail(answer)
        else:
            request.complete(answer, (rows,) if rows else ())
        if self._faults.armed:
            self._reactor.call_soon(lambda: self._trip(Phase.REPLIED))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:  # noqa: ARG002
        """LinkHandler: a step's rounds are to end, or a rank is to misbehave."""
        match body:
            case EndRounds(step):
                self._end_rounds(step)
            case InjectFault():
                self._inject(body)

    def on_suspect(self, link: Link) -> None:
        """LinkHandler: the engine is silent; its end is for the link to find out."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:  # noqa: ARG002
        """LinkHandler: try again if we never were up, else leave."""
        if self._up:
            self._trip(Phase.DRAINING)
            self._leave(ExitCode.OK if reason in _DISMISSED else ExitCode.LINK_LOST, reason)
        elif reason not in _UNREACHABLE:
            self._leave(ExitCode.REFUSED, f"{reason} {detail}".rstrip())
        elif self._reactor.now() >= self._give_up_at:
            self._leave(ExitCode.PARENT_UNREACHABLE, f"{reason} {detail}".rstrip())
        else:
            self._reactor.call_later(RETRY_S, lambda: self.connect(self._endpoint))

    def _execute(self, operation: Body, raw: tuple[bytes, ...]) -> tuple[Body, bytes]:
        try:
            if isinstance(operation, EmbedStep):
                self._faults.trip(Phase.BEFORE)
                return self._backend.embed(operation)
            return self._dispatch(operation, raw), b""
        except BackendError as error:
            _log.warning("operation refused code=%s: %s", error.code, error.message)
            return Failure(error.code, error.message), b""
        except DeviceLost as error:
            self._leave(ExitCode.DEVICE_LOST, f"device lost: {error}")
            return Failure(FailureCode.WORKER_DIED, str(error)), b""
        except Exception as error:  # noqa: BLE001 - whatever fails, the engine gets an answer
            _log.exception("operation failed operation=%s", type(operation).__name__)
            what = f"{type(error).__name__} in {type(operation).__name__}"
            message = f"{what} on {self._me.name}; its log has more"
            short = isinstance(error, MemoryError)
            code = FailureCode.OUT_OF_MEMORY if short else FailureCode.INTERNAL
            return Failure(code, message), b""

    def _dispatch(self, operation: Body, raw: tuple[bytes, ...]) -> Body:
        match operation:
            case LoadShard():
                self._faults.trip(Phase.STARTING)
                self._rank = operation.rank
                return self._backend.load(operation)
            case Step():
                self._faults.trip(Phase.BEFORE)
                return self._backend.step(operation, raw[0] if raw else b"")
            case ClearCache():
                self._faults.trip(Phase.BEFORE)
                self._backend.clear()
                return CacheCleared(self._rank)
            case SleepShard():
                self._faults.trip(Phase.BEFORE)
                return self._backend.sleep()
            case WakeShard():
                self._faults.trip(Phase.BEFORE)
                return self._backend.wake()
            case _:
                name = type(operation).__name__
                raise BackendError(FailureCode.INVALID_REQUEST, f"a rank cannot execute {name}")

    def _inject(self, fault: InjectFault) -> None:
        try:
            self._faults.arm(fault)
        except UnknownFault as error:
            _log.warning("fault refused: %s", error)
            return
        _log.warning("fault armed kind=%s phase=%s", fault.fault, fault.phase)
        self._trip(Phase.IDLE)

    def _trip(self, phase: Phase) -> None:
        try:
            self._faults.trip(phase)
        except MemoryError:
            # No operation is open that could carry it, so it ends the process.
            _log.exception("failed outside an operation phase=%s", phase)
            self._leave(ExitCode.INTERNAL, "failed outside an operation")

    def _leave(self, code: ExitCode, why: str) -> None:
        self._left = True
        if self.exit_code is ExitCode.OK:
            self.exit_code = code
        _log.info("leaving code=%d reason=%s", self.exit_code, why)
        self._reactor.stop()
