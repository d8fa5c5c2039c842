"""Where time comes from: monotonic seconds, injected so that rules can be tested by hand."""

from __future__ import annotations

import time
from typing import Protocol, final


class Clock(Protocol):
    """A source of monotonic time."""

    def now(self) -> float:
        """Return seconds since an arbitrary fixed point; never goes backwards."""
        ...


@final
class MonotonicClock:
    """The operating system's monotonic clock. May be read from any thread."""

    __slots__ = ()

    # PERF: asked several times per message, so without a Python-level call in between.
    now = staticmethod(time.monotonic)


@final
class ManualClock:
    """A clock that moves only when a test moves it."""

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time set so far, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward and return the new time.

        Raises:
            ValueError: If ``seconds`` is negative; monotonic time never goes back.
        """
        if seconds < 0:
            msg = f"monotonic time cannot go back by {-seconds} s"
            raise ValueError(msg)
        self._now += seconds
        return self._now
