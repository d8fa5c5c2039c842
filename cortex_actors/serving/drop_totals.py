"""How many messages the daemon's child processes have refused, by what they are and why."""

from __future__ import annotations

import threading
from collections import Counter
from typing import final

from transports.schemas.link import LinkDrops


@final
class DropTotals:
    """Adds up what children report; their ends subtract nothing. Any thread."""

    def __init__(self) -> None:
        # SAFETY: the reactor's thread adds, the one that is scraped on reads.
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, report: LinkDrops) -> None:
        """Count what is new."""
        with self._lock:
            for reason, count in report.drops.items():
                self._counts[report.role, reason] += count

    def read(self) -> dict[tuple[str, str], int]:
        """Return the totals by role and reason."""
        with self._lock:
            return dict(self._counts)
