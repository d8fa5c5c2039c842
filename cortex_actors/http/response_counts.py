"""How many responses this process gave, for the daemon that counts those of all processes."""

from __future__ import annotations

import threading
from collections import Counter
from typing import final

from transports.schemas.fleet import HttpResponses


@final
class ResponseCounts:
    """Counts responses by route and status until a ``NewsReporter`` takes them. Any thread."""

    def __init__(self) -> None:
        # SAFETY: every request's thread adds, the reactor's takes.
        self._lock = threading.Lock()
        self._new: Counter[tuple[str, str]] = Counter()

    def add(self, route: str, status: str) -> None:
        """Count one response."""
        with self._lock:
            self._new[route, status] += 1

    def take(self) -> HttpResponses | None:
        """Return what came since the last time; None if nothing did."""
        with self._lock:
            new, self._new = self._new, Counter()
        if not new:
            return None
        counts: dict[str, dict[str, int]] = {}
        for (route, status), count in new.items():
            counts.setdefault(route, {})[status] = count
        return HttpResponses(counts)

    def put_back(self, report: HttpResponses) -> None:
        """Keep a report for later that could not be told."""
        with self._lock:
            for route, statuses in report.counts.items():
                for status, count in statuses.items():
                    self._new[route, status] += count
