"""The one thread that reads sockets and calls users back.

Everything that happens on links happens here, in order: messages, timers, commands of other
threads. While it only waits, such a thread may run its command itself; see ``transports.turn``.
``run`` makes the calling thread the reactor's; ``start`` gives it one of its own. Until then the
thread that made it may use it as if it ran.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any, TypeVar, final

import zmq

from transports import zap
from transports.clock import Clock, MonotonicClock
from transports.curve import CurveClient, CurveServer
from transports.endpoints import Endpoint, check_connect, check_listen, parse
from transports.errors import EndpointError, LinkDown
from transports.fence import DropCounters
from transports.link import Identity, LinkHandler
from transports.listener import Listener
from transports.liveness import LOCAL, REMOTE, LivenessPolicy
from transports.poller import Poller
from transports.reception import Admit, admit_all
from transports.timers import Timer, TimerQueue
from transports.turn import Turn
from transports.zmq_link import Dialer

_CALL_S = 10.0
_MAX_WAIT_S = 10.0
_TERM_S = 2.0
# A connecting end takes three, two of them to be told of breaks: ZeroMQ's own 1023 is 341 links.
_MAX_SOCKETS = 16_384
_log = logging.getLogger("cortex.transports")
_T = TypeVar("_T")


@final
class Reactor:
    """One event loop with its own ZeroMQ context.

    Args:
        name: For the log.
        clock: Monotonic.
        on_failure: Called when a callback has raised and that has been logged; else the loop just
            goes on. A request's handler is no such callback: its failure is its asker's answer.
    """

    def __init__(
        self,
        name: str,
        clock: Clock | None = None,
        *,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._on_failure = on_failure
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
        self.counters = DropCounters()
        self.now = (clock or MonotonicClock()).now
        """Monotonic seconds; from any thread."""
        self.poller = Poller()
        self._closers: dict[Any, Callable[[], None]] = {}
        self._timers = TimerQueue()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # SAFETY: a late wake-up must not write to whoever gets the descriptor next. Reentrant,
        # because a signal handler may call stop() inside it.
        self._wake_lock = threading.RLock()
        self._turn = Turn(self._wake, self.poller.look)
        self.enter, self.leave = self._turn.enter, self._turn.leave
        """Become, while it only waits, the one who may act as the reactor; see ``Turn``."""
        self._ident: int | None = None
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._allowed: dict[bytes, Mapping[bytes, str]] = {}
        self._zap: zmq.Socket[bytes] | None = None
        self.poller.add_doorbell(self._wake_fd)

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Be the reactor's thread until ``stop``; then close every link and socket."""
        self._ident = get_ident()
        try:
            while not self._turn.stopping:
                self.turn()
        finally:
            self._shut_down()

    def start(self) -> None:
        """Run on a thread of its own."""
        started = threading.Event()

        def body() -> None:
            self._ident = get_ident()
            started.set()
            self.run()

        self._thread = threading.Thread(target=body, name=f"reactor-{self.name}", daemon=True)
        self._thread.start()
        if not started.wait(_CALL_S):
            msg = f"the thread of reactor {self.name} did not start"
            raise RuntimeError(msg)

    def stop(self) -> None:
        """End ``run`` after what is under way; idempotent. Any thread."""
        self._turn.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait until the reactor has closed everything; False if it has not in time."""
        return self._done.wait(timeout_s)

    # -- links ----------------------------------------------------------------------------------

    def listen(
        self,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        *,
        admit: Admit = admit_all,
        curve: CurveServer | None = None,
        liveness: LivenessPolicy | None = None,
    ) -> Listener:
        """Listen on ``endpoint``. Any thread; returns when peers can connect.

        Raises:
            EndpointError: Malformed, in use, or not allowed.
            LinkDown: The reactor has stopped.
        """
        address = _parse(endpoint)
        check_listen(address, has_keys=curve is not None)
        policy = liveness or _default_policy(address)
        return self._call(lambda: Listener(self, address, me, handler, admit, policy, curve))

    def connect(
        self,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        *,
        deadline_s: float = 5.0,
        curve: CurveClient | None = None,
        liveness: LivenessPolicy | None = None,
    ) -> None:
        """Try once to connect; ``handler`` gets ``on_up`` or ``on_down``. Any thread.

        Raises:
            EndpointError: Malformed.
            LinkDown: The reactor has stopped.
        """
        address = _parse(endpoint)
        check_connect(address)
        policy = liveness or _default_policy(address)
        self._require_running()
        self.run_soon(lambda: Dialer(self, address, me, handler, policy, curve).dial(deadline_s))

    # -- the loop, for everybody ----------------------------------------------------------------

    def on_thread(self) -> bool:
        """Return whether the caller is the reactor's thread, or may act as it before it runs."""
        return self._ident is None or self._ident == get_ident()

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` on the reactor's thread, after what is due now. Any thread."""
        self._turn.post(fn)

    def run_soon(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` at once on the reactor's thread, and like ``call_soon`` on another."""
        if self.on_thread():
            fn()
        else:
            self.call_soon(fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Timer:
        """Run ``fn`` on the reactor's thread in ``delay_s`` seconds. Any thread."""
        timer = Timer(self.now() + delay_s, fn)
        self.run_soon(lambda: self._timers.add(timer))
        return timer

    def watch(self, fd: int, fn: Callable[[], None]) -> None:
        """Run ``fn`` whenever ``fd`` is readable. Any thread."""
        self.run_soon(lambda: self.adopt(fd, fn))

    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no more; call it before closing the descriptor. Any thread."""
        self.run_soon(lambda: self.release(fd))

    # -- for this package, on the reactor's thread ----------------------------------------------

    def callback_failed(self) -> None:
        """See ``transports.loop.Loop``."""
        if self._on_failure is not None:
            self._on_failure()

    def adopt(
        self, source: Any, on_readable: Callable[[], None], close: Callable[[], None] | None = None
    ) -> None:
        """Watch a socket or descriptor; ``close`` is called when the reactor ends."""
        self.poller.add(source, on_readable)
        if close is not None:
            self._closers[source] = close

    def release(self, source: Any) -> None:
        """Watch it no more."""
        self.poller.remove(source)
        self._closers.pop(source, None)

    def allow(self, allowed: Mapping[bytes, str]) -> bytes:
        """Let these CURVE keys connect; return the ZAP domain that says so."""
        if self._zap is None:
            self._zap = self.context.socket(zmq.REP)
            self._zap.setsockopt(zmq.LINGER, 0)
            self._zap.bind(zap.ENDPOINT)
            self.adopt(self._zap, self._on_zap, self._zap.close)
        domain = b"listener-%d" % len(self._allowed)
        self._allowed[domain] = allowed
        return domain

    # -- one turn -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Wait for something to do, and do it. What ``run`` repeats."""
        wait_s = self._timers.next_at - self.now()
        if wait_s <= 0:
            self._run_timers(self.now())
        elif wait_s > _MAX_WAIT_S:
            wait_s = _MAX_WAIT_S
        unsure, readers = self.poller.unsure, self.poller.readers
        ready = self.poller.look() if unsure else []
        for fd, _ in self._turn.wait(self.poller.wait, 0 if ready else wait_s):
            if fd not in ready:
                unsure.add(fd)
                ready.append(fd)
        for fd in ready:
            # One that was read before it may have removed it.
            if fd in readers:
                try:
                    readers[fd]()
                except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
                    self._log_failure()
        if self._turn.soon:
            self._run_soon()

    def _run_soon(self) -> None:
        soon = self._turn.soon
        for _ in range(len(soon)):
            try:
                soon.popleft()()
            except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
                self._log_failure()

    def _run_timers(self, now: float) -> None:
        while (due := self._timers.pop_due(now)) is not None:
            self._guard(due)

    def _guard(self, fn: Callable[[], None]) -> None:
        try:
            fn()
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            self._log_failure()

    def _log_failure(self) -> None:
        _log.exception("callback_failed reactor=%s", self.name)
        self.callback_failed()

    def _wake(self) -> None:
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _on_zap(self) -> None:
        socket = self._zap
        assert socket is not None  # noqa: S101 -- it is what became readable
        try:
            request = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        reply = zap.answer(request, self._allowed)
        if zap.refuses(reply):
            _log.warning("key_refused %s", zap.who(request))
        socket.send_multipart(reply)

    def _call(self, fn: Callable[[], _T]) -> _T:
        self._require_running()
        if self.on_thread():
            return fn()
        box: list[_T | BaseException] = []
        done = threading.Event()

        def body() -> None:
            try:
                box.append(fn())
            except BaseException as ex:  # noqa: BLE001 -- raised again in the caller's thread
                box.append(ex)
            done.set()

        self.call_soon(body)
        if not done.wait(_CALL_S):
            raise LinkDown(f"reactor {self.name} did not answer within {_CALL_S} s")
        outcome = box[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _require_running(self) -> None:
        if self._turn.stopping:
            raise LinkDown(f"reactor {self.name} has stopped")

    def _shut_down(self) -> None:
        self._turn.stopping = True
        self._run_soon()
        for close in list(self._closers.values()):
            self._guard(close)
        self._run_soon()
        # A socket that was left open would make term() wait for ever.
        ender = threading.Thread(target=self.context.term, name=f"{self.name}-term", daemon=True)
        ender.start()
        ender.join(_TERM_S)
        with self._wake_lock:
            os.close(self._wake_fd)
            self._wake_fd = -1
        self.poller.close()
        self._done.set()


def _parse(text: str) -> Endpoint:
    endpoint = parse(text)
    if endpoint.scheme == "inproc":
        raise EndpointError(f"{text!r}: a reactor has no in-process links; see transports.inproc")
    return endpoint


def _default_policy(endpoint: Endpoint) -> LivenessPolicy:
    return REMOTE if endpoint.scheme == "tcp" else LOCAL
