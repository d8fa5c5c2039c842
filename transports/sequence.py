"""Sequence numbers as they arrive on one link: from 1, without gaps (pure)."""

from __future__ import annotations

from typing import final


@final
class Arrivals:
    """Checks the numbers of what we receive.

    Nothing is reordered or waited for: a message that comes after a later one counts as lost, and
    is refused when it comes.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def admit(self, seq: int) -> int | None:
        """Return how many messages are missing before ``seq``, or None if it is not a new one."""
        gap = seq - self.last - 1
        if gap < 0:
            return None
        self.last = seq
        return gap
