"""Doing something later: one thread for all timers of the process.

``TimerQueue`` holds the rules and no thread; ``TimerThread`` waits for its next entry.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import final

from transports.clock import Clock, MonotonicClock

_log = logging.getLogger("cortex.actors")
_COMPACT_ABOVE = 64


@final
class Timer:
    """One thing to do later; ``cancel`` may be called from any thread, any number of times."""

    __slots__ = ("at", "fire", "order")

    def __init__(self, at: float, order: int, fire: Callable[[], None]) -> None:
        self.at = at
        self.order = order
        self.fire: Callable[[], None] | None = fire

    def __lt__(self, other: Timer) -> bool:
        return (self.at, self.order) < (other.at, other.order)

    def cancel(self) -> None:
        """Have it not happen, unless it is happening now."""
        self.fire = None


@final
class TimerQueue:
    """Timers in the order in which they are due. Not thread-safe; no clock of its own."""

    __slots__ = ("_compact_at", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._compact_at = _COMPACT_ABOVE

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, fire: Callable[[], None]) -> Timer:
        """Add a timer that is due at ``at``; equal times keep their order."""
        timer = Timer(at, next(self._order), fire)
        heapq.heappush(self._heap, timer)
        # Most timers are deadlines that never come; without this, cancelled ones would stay.
        if len(self._heap) > self._compact_at:
            self._heap = [kept for kept in self._heap if kept.fire is not None]
            heapq.heapify(self._heap)
            self._compact_at = max(_COMPACT_ABOVE, 2 * len(self._heap))
        return timer

    def next_at(self) -> float | None:
        """When the next timer is due, or None."""
        while self._heap and self._heap[0].fire is None:
            heapq.heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def due(self, now: float) -> list[Timer]:
        """Take out all timers that are due, earliest first."""
        taken: list[Timer] = []
        while self._heap and (self._heap[0].fire is None or self._heap[0].at <= now):
            timer = heapq.heappop(self._heap)
            if timer.fire is not None:
                taken.append(timer)
        return taken


@final
class TimerThread:
    """Fires timers on a daemon thread of its own, started with the first timer.

    SAFETY: the lock guards the queue, which any thread may add to; nothing fires while it is held.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self._queue = TimerQueue()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def after(self, delay_s: float, fire: Callable[[], None]) -> Timer:
        """Have ``fire()`` run on the timer thread in ``delay_s`` seconds; it must be quick."""
        with self._changed:
            earliest = self._queue.next_at()
            timer = self._queue.add(self._clock.now() + delay_s, fire)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
                self._thread.start()
            elif earliest is None or timer.at < earliest:
                self._changed.notify()
        return timer

    def _run(self) -> None:
        while True:
            for timer in self._wait_for_due():
                fire = timer.fire
                if fire is None:
                    continue
                try:
                    fire()
                except Exception:  # noqa: BLE001 - one bad timer must not end all others
                    _log.exception("event=timer_failed fire=%r", fire)

    def _wait_for_due(self) -> list[Timer]:
        with self._changed:
            while True:
                now = self._clock.now()
                due = self._queue.due(now)
                if due:
                    return due
                at = self._queue.next_at()
                self._changed.wait(None if at is None else at - now)


TIMERS = TimerThread()
"""The process's timers."""
