"""Virtual time: one heap of events, one seeded generator, and the hosts on which things happen.

A host is one process. Its actors' turns and its reactor's are events like all others, so which of
two threads comes first is drawn anew in every schedule. What belongs to a host that is dead does
not happen; what belongs to one that stands still (SIGSTOP) happens later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from transports.clock import Clock

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop

LONGEST_TURN_S = 0.004


class Broken(AssertionError):
    """A property does not hold in this schedule."""


class Event:
    """Something that happens on a host; ``loop`` if it does on the reactor's thread."""

    __slots__ = ("fn", "host", "loop")

    def __init__(self, fn: Callable[[], None], host: Host, loop: bool) -> None:
        self.fn: Callable[[], None] | None = fn
        self.host = host
        self.loop = loop

    def cancel(self) -> None:
        """Have it not happen; idempotent."""
        self.fn = None


class Host:
    """One process on a ``machine``; ``slowness`` stretches all that it does."""

    def __init__(self, world: World, name: str, machine: str) -> None:
        self.name = name
        self.machine = machine
        self.boot = world.rng.getrandbits(63)
        self.alive = True
        self.slowness = 1.0
        self.still_until = 0.0
        self.loop: VirtualLoop | None = None

    def __repr__(self) -> str:
        return self.name


class World(Clock):
    """The time and everything that is still to happen. ``trace`` takes what is worth telling."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.rng = random.Random(seed)
        self.events = 0
        self.violations: list[str] = []
        self.nowhere = Host(self, "the test", "nowhere")
        self.host = self.nowhere
        self.on_loop = False
        self._tell = tell
        self._now = 0.0
        self._order = 0
        self._heap: list[tuple[float, int, Event]] = []

    def now(self) -> float:
        """Return virtual seconds."""
        return self._now

    def tell(self, text: str) -> None:
        """Add a line to the trace."""
        if self._tell is not None:
            self._tell(f"{self._now:9.3f}  {self.host.name:<14} {text}")

    def violate(self, text: str) -> None:
        """Note that a property is broken; product code cannot catch it."""
        self.tell(f"BROKEN: {text}")
        self.violations.append(f"at {self._now:.3f} s: {text}")

    def later(
        self,
        delay_s: float,
        fn: Callable[[], None],
        host: Host | None = None,
        *,
        loop: bool = False,
    ) -> Event:
        """Have ``fn`` happen in ``delay_s`` seconds, here unless a ``host`` is named."""
        event = Event(fn, host or self.host, loop)
        self._order += 1
        heappush(self._heap, (self._now + delay_s, self._order, event))
        return event

    def a_while(self, host: Host) -> float:
        """Return how long it takes until a thread of the host has its turn: mostly not long."""
        return self.rng.random() ** 6 * LONGEST_TURN_S * host.slowness

    def run_until(self, end: float, done: Callable[[], bool] | None = None) -> None:
        """Let everything happen up to ``end``, or until ``done()``.

        Raises:
            Broken: A property does not hold.
        """
        heap = self._heap
        while heap and heap[0][0] <= end:
            if done is not None and done():
                return
            at, order, event = heappop(heap)
            host, fn = event.host, event.fn
            if fn is None or not host.alive:
                continue
            if host.still_until > at:
                heappush(heap, (host.still_until, order, event))
                continue
            self._now, self.host, self.on_loop = at, host, event.loop
            self.events += 1
            try:
                fn()
            except Exception as error:
                raise Broken(f"at {at:.3f} s: {host} has crashed: {error!r}") from error
            self.host, self.on_loop = self.nowhere, False
            if self.violations:
                raise Broken("; ".join(self.violations))
        if done is None or not done():
            self._now = max(self._now, end)

    @contextmanager
    def inside(self, host: Host) -> Iterator[None]:
        """Do something as if on this host."""
        before, self.host = self.host, host
        try:
            yield
        finally:
            self.host = before
