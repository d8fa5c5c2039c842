"""Which messages this process has refused, for the daemon that counts those of all processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import final

from transports.fence import DropReason
from transports.schemas.link import LinkDrops


@final
class DropNews:
    """What a ``NewsReporter`` tells of them. Loop's thread only.

    Args:
        role: What this process is: engine, rank, front_end.
        read: Returns the totals so far, by reason.
    """

    def __init__(self, role: str, read: Callable[[], Mapping[DropReason, int]]) -> None:
        self._role = role
        self._read = read
        self._told: Counter[str] = Counter()

    def take(self) -> LinkDrops | None:
        """Return those since the last time; None if there are none."""
        total = Counter({str(reason): count for reason, count in self._read().items()})
        new = total - self._told
        self._told = total
        return LinkDrops(self._role, dict(new)) if new else None

    def put_back(self, report: LinkDrops) -> None:
        """Keep a report for later that could not be told."""
        self._told -= Counter(report.drops)
