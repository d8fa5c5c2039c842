"""How many responses this process gave, and telling its daemon."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, final

from transports.errors import TransportError
from transports.link import Link
from transports.loop import Loop
from transports.schemas.fleet import HttpResponses

_LOG = logging.getLogger("cortex.http")

INTERVAL_S: Final = 1.0


@final
class ResponseCounts:
    """Counts responses by route and status; what is not told yet stays. Any thread."""

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


@final
class ResponseReporter:
    """Sends the counts once a second, if there are any. Loop's thread only."""

    def __init__(self, loop: Loop, counts: ResponseCounts, link: Callable[[], Link | None]) -> None:
        self._loop = loop
        self._counts = counts
        self._link = link

    def start(self) -> None:
        """Look now and every second from now on."""
        self._loop.call_later(INTERVAL_S, self.start)
        self.tell()

    def tell(self) -> None:
        """Tell what is new."""
        link = self._link()
        report = None if link is None else self._counts.take()
        if link is None or report is None:
            return
        try:
            link.note(report)
        except TransportError as error:
            _LOG.debug("response counts not told yet: %s", error)
            self._counts.put_back(report)
