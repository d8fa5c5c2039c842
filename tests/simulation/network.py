"""Connections between virtual hosts, and all that can happen to what is sent over them.

A connection is two streams that keep their order, as TCP does. A cut holds a stream up until it is
healed; a connection breaks when an end closes it, when a process dies (its kernel says so) and when
a machine that went without a word comes back. Beyond TCP, messages can be lost and old ones of an
earlier connection come again.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation.world import Host, World
from transports.channel import Channel
from transports.identity import Route
from transports.link import Identity, LinkHandler
from transports.liveness import LivenessPolicy
from transports.reception import Reception, admit_all
from transports.session import Session

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop

LATENCY_S = 0.0003
FAR_S = 0.004
OLD_FRAMES = 24

Frames = Sequence[bytes]


class _Stream:
    """One way of a connection; None in the queue is its end."""

    def __init__(
        self,
        network: Network,
        endpoint: str,
        source: Host,
        to: VirtualLoop,
        take: Callable[[Frames | None], None],
    ) -> None:
        self.endpoint = endpoint
        self._network = network
        self._world = network.world
        self.machines = source.machine, to.host.machine
        self.far = source.machine != to.host.machine
        self.to = to
        self.take = take
        self.over = False
        self._queue: deque[Frames | None] = deque()
        self._due = False

    def send(self, item: Frames | None) -> None:
        if self.over:
            return
        self.over = item is None
        if item is not None and self._network.loses(self.endpoint):
            self._world.tell(f"lost on the way to {self.to.host}: a message")
            return
        self._queue.append(item)
        self.resume()

    def resume(self) -> None:
        """Go on, unless it is under way already."""
        if self._queue and not self._due:
            self._due = True
            world, far = self._world, self.far
            delay_s = world.rng.random() * (FAR_S if far else LATENCY_S)
            world.later(delay_s, self._arrive, self.to.host, loop=True)

    def _arrive(self) -> None:
        self._due = False
        if self.far and self._network.is_cut(*self.machines):
            self._network.hold(self)
            return
        self.take(self._queue.popleft())
        self.resume()


class _Listener:
    """One address."""

    def __init__(
        self,
        network: Network,
        loop: VirtualLoop,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
    ) -> None:
        self.loop = loop
        self.endpoint = endpoint
        self.wires: dict[bytes, Wire] = {}
        self.reception = Reception(loop, me, handler, admit_all, policy, self._port_to)

    def _port_to(self, routing_id: bytes) -> _PortBack:
        return _PortBack(self.wires[routing_id])


class _PortBack:
    """From the listener to one peer."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def send(self, frames: Frames) -> bool:
        self._wire.back.send(frames)
        return True

    def close(self) -> None:
        self._wire.back.send(None)


class Wire:
    """One connection, and the connecting end's port."""

    def __init__(
        self,
        network: Network,
        loop: VirtualLoop,
        listener: _Listener,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
    ) -> None:
        self.network = network
        self.listener = listener
        self.routing_id = Route.of(me).routing_id()
        self.channel = Channel(
            loop, Session(me, policy, loop.now(), None), self, handler, lambda: None
        )
        endpoint = listener.endpoint
        self.out = _Stream(network, endpoint, loop.host, listener.loop, self._to_listener)
        self.back = _Stream(network, endpoint, listener.loop.host, loop, self._to_dialer)
        listener.wires[self.routing_id] = self

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The connecting and the listening host."""
        return self.back.to.host, self.out.to.host

    @property
    def over(self) -> bool:
        """Whether both ways have ended."""
        return self.out.over and self.back.over

    def send(self, frames: Frames) -> bool:
        """Send to the listener."""
        self.out.send(frames)
        return True

    def close(self) -> None:
        """The connecting end closes."""
        self.out.send(None)

    def snap(self) -> None:
        """Break it: both ends hear of that."""
        self.out.send(None)
        self.back.send(None)

    def _to_listener(self, frames: Frames | None) -> None:
        if frames is None:
            self.listener.reception.lost(self.routing_id, "disconnected")
            self.back.send(None)
        else:
            self.network.keep(self, "out", frames)
            self.listener.reception.received(self.routing_id, frames)

    def _to_dialer(self, frames: Frames | None) -> None:
        if frames is None:
            self.channel.lost("disconnected", self.listener.endpoint)
            self.out.send(None)
        else:
            self.network.keep(self, "back", frames)
            self.channel.received(frames)


class Network:
    """All listeners and connections; what is cut, by machines; what loses messages, by listener."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wires: list[Wire] = []
        self.loss: dict[str, float] = {}
        self._listeners: dict[str, _Listener] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._held: list[_Stream] = []
        self._old: dict[tuple[str, str], deque[tuple[Wire, Frames]]] = defaultdict(
            lambda: deque(maxlen=OLD_FRAMES)
        )

    # -- for loops ------------------------------------------------------------------------------

    def listen(
        self,
        loop: VirtualLoop,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
    ) -> None:
        """Take connections at ``endpoint`` from now on."""
        self._listeners[endpoint] = _Listener(self, loop, endpoint, me, handler, policy)

    def dial(
        self,
        loop: VirtualLoop,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
        deadline_s: float,
    ) -> None:
        """Connect; an address where nobody listens refuses, a machine that is away is silent."""
        listener = self._listeners.get(endpoint)
        if listener is None or not listener.loop.host.alive:
            channel = Channel(
                loop, Session(me, policy, loop.now()), _Nowhere(), handler, lambda: None
            )
            channel.begin((), deadline_s)
            if listener is None or not self._is_away(listener.loop.host.machine):
                loop.call_later(LATENCY_S, lambda: channel.lost("connect_failed", endpoint))
            return
        self.wires = [wire for wire in self.wires if not wire.over]
        wire = Wire(self, loop, listener, me, handler, policy)
        self.wires.append(wire)
        wire.channel.begin((), deadline_s)
        loop.call_later(LATENCY_S, wire.channel.greet)

    # -- what happens to it ---------------------------------------------------------------------

    def is_cut(self, source: str, to: str) -> bool:
        """Whether nothing gets from one machine to the other now."""
        return bool(self._cuts) and self._cuts[source, to] > 0

    def cut(self, source: str, to: str) -> None:
        """Hold up all that one machine sends to the other."""
        self._cuts[source, to] += 1

    def heal(self, source: str, to: str) -> None:
        """Let it through again, what was held up first."""
        self._cuts[source, to] -= 1
        held, self._held = self._held, []
        for stream in held:
            stream.resume()

    def hold(self, stream: _Stream) -> None:
        """This one goes on when something is healed."""
        self._held.append(stream)

    def loses(self, endpoint: str) -> bool:
        """Whether a message to or from this listener is lost on its way now."""
        return endpoint in self.loss and self.world.rng.random() < self.loss[endpoint]

    def kill(self, host: Host, *, silently: bool = False) -> None:
        """End a process; its kernel tells its peers unless the whole machine goes ``silently``."""
        host.alive = False
        for endpoint, listener in list(self._listeners.items()):
            if listener.loop.host is host and not silently:
                del self._listeners[endpoint]
        for wire in self.wires if not silently else ():
            if host in wire.hosts:
                wire.snap()

    def back_up(self, machine: str) -> None:
        """A machine that went silently is there again, and knows of no connection."""
        for endpoint, listener in list(self._listeners.items()):
            if listener.loop.host.machine == machine and not listener.loop.host.alive:
                del self._listeners[endpoint]
        for wire in self.wires:
            if any(host.machine == machine and not host.alive for host in wire.hosts):
                wire.snap()

    def break_all(self, machine: str) -> None:
        """Break every connection that a machine has with others."""
        for wire in self.wires:
            if wire.out.far and machine in wire.out.machines:
                wire.snap()

    # -- what comes again -----------------------------------------------------------------------

    def keep(self, wire: Wire, way: str, frames: Frames) -> None:
        """Remember a message, as a network may that delivers it late."""
        if wire.out.far:
            self._old[wire.listener.endpoint, way].append((wire, frames))

    def replay(self, machine: str) -> int:
        """Deliver messages of earlier connections on those of now; each must be dropped."""
        played = 0
        for wire in [each for each in self.wires if machine in each.out.machines and each.out.far]:
            for way in ("out", "back"):
                for source, frames in list(self._old[wire.listener.endpoint, way]):
                    if source is not wire:
                        played += 1
                        self._play(wire, way, frames)
        return played

    def _play(self, wire: Wire, way: str, frames: Frames) -> None:
        loop = (wire.out if way == "out" else wire.back).to

        def arrive() -> None:
            if wire.over:
                return
            counters = loop.counters
            before = sum(counters.drops.values())
            if way == "out":
                wire.listener.reception.received(wire.routing_id, frames)
            else:
                wire.channel.received(frames)
            if sum(counters.drops.values()) == before:
                self.world.violate(f"{loop.host} has taken a message of an earlier connection")

        self.world.later(self.world.rng.random() * FAR_S, arrive, loop.host, loop=True)

    def _is_away(self, machine: str) -> bool:
        return any(
            listener.loop.host.machine == machine and not listener.loop.host.alive
            for listener in self._listeners.values()
        )


class _Nowhere:
    """The port of a connection that never comes to be."""

    def send(self, frames: Frames) -> bool:
        return True

    def close(self) -> None:
        pass
