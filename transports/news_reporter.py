"""Telling over a link, once a second, what is new: each piece once, whatever the link does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar, final

from transports.errors import TransportError
from transports.link import Link
from transports.loop import Loop
from transports.schemas.body import Body

_log = logging.getLogger("cortex.transports")

INTERVAL_S: Final = 1.0

Report = TypeVar("Report", bound=Body)


class News(Protocol[Report]):
    """What happens here that somebody at the other end counts."""

    def take(self) -> Report | None:
        """Return what came since the last time; None if nothing did."""
        ...

    def put_back(self, report: Report) -> None:
        """Keep a report for later that could not be told."""
        ...


@final
class NewsReporter(Generic[Report]):
    """Notes what is new, at most once a second and only if there is any. Loop's thread only.

    What cannot be told while there is no link is told later; ``link`` returns it while it is up.
    """

    def __init__(self, loop: Loop, news: News[Report], link: Callable[[], Link | None]) -> None:
        self._loop = loop
        self._news = news
        self._link = link

    def start(self) -> None:
        """Look now and every second from now on."""
        self._loop.call_later(INTERVAL_S, self.start)
        self.tell()

    def tell(self) -> None:
        """Tell what is new, without waiting for the second to pass."""
        link = self._link()
        report = None if link is None else self._news.take()
        if link is None or report is None:
            return
        try:
            link.note(report)
        except TransportError as error:
            _log.debug("not told yet report=%s: %s", type(report).__name__, error)
            self._news.put_back(report)
