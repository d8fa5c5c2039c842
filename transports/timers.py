"""Timers in a heap, for one loop. ``Timer.cancel`` may be called from any thread."""

from __future__ import annotations

import heapq
import itertools
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

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def add(self, timer: Timer) -> None:
        """Have ``timer`` fire at its time; those of one time fire in the order they were added."""
        heapq.heappush(self._heap, (timer.at, next(self._order), timer))

    def next_at(self) -> float | None:
        """Return when the next timer is due; cancelled ones are forgotten on the way."""
        heap = self._heap
        while heap and heap[0][2].fn is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Callable[[], None] | None:
        """Return what is to be done first of all that is due, or None."""
        at = self.next_at()
        if at is None or at > now:
            return None
        return heapq.heappop(self._heap)[2].fn
