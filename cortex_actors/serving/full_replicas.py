"""Replicas that have refused a request because they are full, until they may be asked again. Pure.

What one request was told is of use to all: without it each would find out for itself.
"""

from __future__ import annotations

from typing import Final, final

MOST_S: Final = 30.0
"""A replica that asks to be left alone for longer may have room much sooner."""


@final
class FullReplicas:
    """By the endpoints of their engines; one that was restarted is another. Times are monotonic."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def refused(self, endpoint: str, retry_after_s: float, now: float) -> None:
        """An engine wants nothing more for so long; what is no time at all is ignored."""
        if retry_after_s > 0.0:
            self._until[endpoint] = now + min(retry_after_s, MOST_S)

    def endpoints(self, now: float) -> tuple[str, ...]:
        """Return whom to pass over now."""
        # PERF: asked for every request, and nearly always empty.
        if self._until:
            self._until = {each: until for each, until in self._until.items() if until > now}
        return tuple(self._until)
