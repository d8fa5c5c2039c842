"""Links inside one process, for simulations: deterministic, no threads, no sockets, manual time.

The rules are those of the real links, because they are the same code; only the frames' way differs.
Nothing moves but by ``step``, ``run`` and ``advance``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import final

from transports.channel import Channel
from transports.clock import ManualClock
from transports.endpoints import parse
from transports.errors import EndpointError, LinkDown
from transports.fence import DropCounters
from transports.identity import Route
from transports.link import Identity, LinkHandler
from transports.liveness import LOCAL, LivenessPolicy
from transports.reception import Admit, Reception, admit_all
from transports.session import Session
from transports.timers import Timer, TimerQueue

_RUNAWAY = 100_000


@final
class InprocListener:
    """One in-process address."""

    def __init__(
        self,
        network: InprocNetwork,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        admit: Admit,
        policy: LivenessPolicy,
    ) -> None:
        self.endpoint = endpoint
        self._network = network
        self.reception = Reception(network, me, handler, admit, policy, self._port_to)
        self.dialers: dict[bytes, _Dialer] = {}

    def close(self) -> None:
        """Say GOODBYE on every link and stop listening; idempotent."""
        self._network.forget(self)
        self.reception.close()

    def _port_to(self, routing_id: bytes) -> _PortBack:
        return _PortBack(self._network, self.dialers, routing_id)


@final
class _PortBack:
    """From the listener to one peer."""

    def __init__(
        self, network: InprocNetwork, dialers: dict[bytes, _Dialer], routing_id: bytes
    ) -> None:
        self._network = network
        self._dialers = dialers
        self._routing_id = routing_id

    def send(self, frames: Sequence[bytes]) -> bool:
        dialer = self._dialers.get(self._routing_id)
        if dialer is None:
            raise LinkDown("no such peer")
        self._network.call_soon(partial(dialer.channel.received, frames))
        return True

    def close(self) -> None:
        pass


@final
class _Dialer:
    """The connecting end, and its port to the listener."""

    def __init__(
        self,
        network: InprocNetwork,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
    ) -> None:
        self._network = network
        self._endpoint = endpoint
        self._routing_id = Route.of(me).routing_id()
        self._listener: InprocListener | None = None
        session = Session(me, policy, network.now())
        self.channel = Channel(network, session, self, handler, lambda: None)

    def dial(self, listener: InprocListener | None) -> None:
        if listener is None or self._routing_id in listener.dialers:
            self.channel.lost("connect_failed", self._endpoint)
            return
        self._listener = listener
        listener.dialers[self._routing_id] = self
        self.channel.greet()

    def send(self, frames: Sequence[bytes]) -> bool:
        if self._listener is None:
            return False
        reception = self._listener.reception
        self._network.call_soon(partial(reception.received, self._routing_id, frames))
        return True

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            del listener.dialers[self._routing_id]
            self._network.call_soon(
                partial(listener.reception.lost, self._routing_id, "disconnected")
            )


@final
class InprocNetwork:
    """Listeners by name, messages in flight, timers, and the time itself."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.counters = DropCounters()
        self._listeners: dict[str, InprocListener] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._timers = TimerQueue()

    def listen(
        self,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        *,
        admit: Admit = admit_all,
        liveness: LivenessPolicy = LOCAL,
    ) -> InprocListener:
        """Listen on ``inproc://name``.

        Raises:
            EndpointError: Malformed, or in use.
        """
        if parse(endpoint).scheme != "inproc":
            raise EndpointError(f"{endpoint!r} is not in-process")
        if endpoint in self._listeners:
            raise EndpointError(f"cannot listen on {endpoint}: already in use")
        listener = InprocListener(self, endpoint, me, handler, admit, liveness)
        self._listeners[endpoint] = listener
        return listener

    def connect(
        self,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        *,
        deadline_s: float = 5.0,
        liveness: LivenessPolicy = LOCAL,
    ) -> None:
        """Try once to connect; ``handler`` gets ``on_up`` or ``on_down``.

        Raises:
            EndpointError: Malformed.
        """
        parse(endpoint)
        dialer = _Dialer(self, endpoint, me, handler, liveness)
        dialer.channel.begin((), deadline_s)
        self.call_soon(lambda: dialer.dial(self._listeners.get(endpoint)))

    def sever(self, me: Identity) -> None:
        """Break the connection that ``me`` made, without a word from either end."""
        routing_id = Route.of(me).routing_id()
        for listener in list(self._listeners.values()):
            dialer = listener.dialers.get(routing_id)
            if dialer is not None:
                dialer.channel.lost("disconnected", listener.endpoint)

    def forget(self, listener: InprocListener) -> None:
        """Stop listening; use the listener's own ``close``."""
        if self._listeners.get(listener.endpoint) is listener:
            del self._listeners[listener.endpoint]

    def callback_failed(self) -> None:
        """See ``transports.loop.Loop``; it goes on."""

    def step(self) -> bool:
        """Deliver one message or run one callback; False when there is none."""
        if not self._soon:
            return False
        self._soon.popleft()()
        return True

    def run(self) -> None:
        """Step until nothing is in flight.

        Raises:
            RuntimeError: It never ends.
        """
        for _ in range(_RUNAWAY):
            if not self.step():
                return
        msg = f"still busy after {_RUNAWAY} steps"
        raise RuntimeError(msg)

    def advance(self, seconds: float) -> None:
        """Let time pass: every timer fires at its time, and what it causes happens then."""
        self.run()
        end = self.now() + seconds
        while (at := self._timers.next_at) <= end:
            self.clock.advance(max(0.0, at - self.now()))
            while (due := self._timers.pop_due(self.now())) is not None:
                due()
                self.run()
        self.clock.advance(end - self.now())

    def now(self) -> float:
        """Return the simulated time in seconds."""
        return self.clock.now()

    def on_thread(self) -> bool:
        """Everything happens on the caller's thread."""
        return True

    def enter(self) -> bool:
        """There is no other thread that could want to."""
        return False

    def leave(self) -> None:
        """Nobody has entered."""

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` after what is in flight."""
        self._soon.append(fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Timer:
        """Run ``fn`` when that much time has passed."""
        timer = Timer(self.now() + delay_s, fn)
        self._timers.add(timer)
        return timer
