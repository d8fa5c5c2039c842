"""Timers in a heap, for one loop. ``Timer.cancel`` may be called from any thread."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import final


@final
class Timer:
    """Something to be done at a time."""

    __slots__ = ("at", "fn")

    def __init__(self, at: float, fn: Callable[[], None]) -> None:
        self.at = at
        self.fn: Callable[[], None] | None = fn

    def cancel(self) -> None:
        """Do not fire any more; idempotent."""
        self.fn = None


@final
class TimerQueue:
    """Timers by due time. All methods on the loop's thread."""

    __slots__ = ("_heap", "_order", "next_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self.next_at = math.inf
        """When the next timer is due at the earliest; infinity when there is none."""

    def add(self, timer: Timer) -> None:
        """Have ``timer`` fire at its time; those of one time fire in the order they were added."""
        heapq.heappush(self._heap, (timer.at, next(self._order), timer))
        self.next_at = self._heap[0][0]

    def pop_due(self, now: float) -> Callable[[], None] | None:
        """Return what is to be done first of all that is due, or None."""
        heap = self._heap
        while heap and (heap[0][2].fn is None or heap[0][0] <= now):
            fn = heapq.heappop(heap)[2].fn
            if fn is not None:
                return fn
        self.next_at = heap[0][0] if heap else math.inf
        return None
