"""A reactor in virtual time: what links need of one, for one host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.network import Network
from tests.simulation.world import Event, Host, World
from transports.fence import DropCounters
from transports.link import Identity, LinkHandler
from transports.liveness import LOCAL, REMOTE, LivenessPolicy

IDLE = 0.5
"""How often a reactor that nothing was posted to waits, so that a command is run where it is."""


class VirtualLoop:
    """Implements ``transports.loop.Loop``, and of the Reactor what actors use."""

    def __init__(self, world: World, network: Network, host: Host) -> None:
        self.host = host
        self.counters = DropCounters()
        self.now = world.now
        self._world = world
        self._network = network
        self._soon: deque[Callable[[], None]] = deque()
        self._due = False
        host.loop = self

    def on_thread(self) -> bool:
        """Whether this is an event of our reactor."""
        return self._world.on_loop and self._world.host is self.host

    def enter(self) -> bool:
        """Give the turn to another thread of the host, if the schedule has the reactor wait now."""
        if self._soon or self._world.on_loop or self._world.host is not self.host:
            return False
        return self._world.rng.random() < IDLE

    def leave(self) -> None:
        """Take the turn back; what has arrived meanwhile is an event of its own."""

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` in the reactor's next turn."""
        self._soon.append(fn)
        if not self._due:
            self._due = True
            world = self._world
            world.later(world.a_while(self.host), self._turn, self.host, loop=True)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Event:
        """Run ``fn`` on the reactor's thread in ``delay_s`` seconds."""
        return self._world.later(max(delay_s, 0.0), fn, self.host, loop=True)

    def callback_failed(self) -> None:
        """Go on, as the daemons' reactors do."""

    def connect(
        self,
        endpoint: str,
        me: Identity,
        handler: LinkHandler,
        *,
        deadline_s: float = 5.0,
        curve: Any = None,
        liveness: LivenessPolicy | None = None,
    ) -> None:
        """Try once to connect."""
        policy = liveness or _policy(endpoint)
        self.call_soon(lambda: self._network.dial(self, endpoint, me, handler, policy, deadline_s))

    def listen(self, endpoint: str, me: Identity, handler: LinkHandler) -> None:
        """Listen on ``endpoint`` from now on."""
        self._network.listen(self, endpoint, me, handler, _policy(endpoint))

    def _turn(self) -> None:
        self._due = False
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        if self._soon and not self._due:
            self._due = True
            self._world.later(0.0, self._turn, self.host, loop=True)


def _policy(endpoint: str) -> LivenessPolicy:
    return REMOTE if endpoint.startswith("tcp:") else LOCAL
