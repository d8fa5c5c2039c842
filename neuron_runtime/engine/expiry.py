"""One timer for the deadlines of all of an engine's requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from transports.loop import Cancellable, Loop


@final
class Expiry:
    """Calls ``expire`` when the earliest deadline has passed. Engine's thread only.

    Args:
        next_deadline: The earliest deadline in monotonic seconds; None if there is none.
        expire: Ends what is late. It may call ``arm``.
    """

    def __init__(
        self, loop: Loop, next_deadline: Callable[[], float | None], expire: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._next_deadline = next_deadline
        self._expire = expire
        self._timer: Cancellable | None = None
        self._at: float | None = None

    def arm(self) -> None:
        """Follow the deadlines.

        PERF: a timer that is early enough is kept; most requests end long before.
        """
        at = self._next_deadline()
        if at is None or (self._at is not None and self._at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_later(max(0.0, at - self._loop.now()), self._due)

    def _due(self) -> None:
        self._timer = None
        self._at = None
        self._expire()
