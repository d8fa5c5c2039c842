"""Telling upwards which messages this process has refused, so that the daemon can count all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import final

from transports.errors import TransportError
from transports.fence import DropReason
from transports.link import Link
from transports.loop import Loop
from transports.schemas.link import LinkDrops

_log = logging.getLogger("cortex.drops")

INTERVAL_S = 1.0


@final
class DropReporter:
    """Sends a ``LinkDrops`` with what is new, at most once a second and only if there is any.

    What cannot be told while there is no link is told later. Loop's thread only.

    Args:
        role: What this process is: engine, rank, front_end.
        read: Returns the totals so far, by reason.
        link: Returns the link upwards while it is up.
    """

    def __init__(
        self,
        loop: Loop,
        role: str,
        read: Callable[[], Mapping[DropReason, int]],
        link: Callable[[], Link | None],
    ) -> None:
        self._loop = loop
        self._role = role
        self._read = read
        self._link = link
        self._told: Counter[str] = Counter()

    def start(self) -> None:
        """Look now and every second from now on."""
        self._loop.call_later(INTERVAL_S, self.start)
        link, total = self._link(), Counter({str(r): n for r, n in self._read().items()})
        new = total - self._told
        if link is None or not new:
            return
        try:
            link.note(LinkDrops(self._role, dict(new)))
        except TransportError as error:
            _log.warning("drops not told yet: %s", error)
            return
        self._told = total
