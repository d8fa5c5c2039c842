"""The leases of one front-end process: asked for, kept for a while, and given back.

Everything here runs on the reactor's thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import final

from cortex_actors.http.daemon_link import DaemonLink
from cortex_actors.http.kept_leases import IDLE_S, HeldLease, KeptLeases, Told
from transports.errors import TransportError
from transports.loop import Loop
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled, LeasesSettled

_LOG = logging.getLogger("cortex.http")


@final
class Leases:
    """Says to the daemon what became of each, soon after."""

    def __init__(self, loop: Loop, daemon: DaemonLink) -> None:
        self._loop = loop
        self._daemon = daemon
        self._kept = KeptLeases()
        self._awake = False

    def take(self, wanted: LeaseRequest) -> HeldLease | None:
        """Return a lease that another request is done with, if there is one that will do."""
        return self._kept.take(wanted, self._daemon.link, self._loop.now())

    def granted(self, lease: Lease, wanted: LeaseRequest) -> HeldLease:
        """Hold what the daemon has granted just now."""
        return self._kept.granted(lease, wanted, self._daemon.link, self._loop.now())

    def settle(self, held: HeldLease, settled: LeaseSettled) -> None:
        """The request that held it is over."""
        _LOG.debug(
            "lease id=%s outcome=%s completion_tokens=%d first_token_s=%.3f",
            settled.lease,
            settled.outcome,
            settled.completion_tokens,
            settled.first_token_s,
        )
        now = self._loop.now()
        if self._kept.ended(held, settled, now):
            self._tell(self._kept.due(now))
        elif not self._awake:
            self._awake = True
            self._loop.call_later(IDLE_S, self._look)

    def engine_lost(self, endpoint: str) -> None:
        """The link to this engine is down: ask anew where its requests should go."""
        self._kept.lost(endpoint)
        self._tell(self._kept.due(self._loop.now()))

    def close(self) -> None:
        """Give back what is idle."""
        self._tell(self._kept.end_all())

    def _look(self) -> None:
        self._tell(self._kept.due(self._loop.now()))
        self._awake = not self._kept.is_empty
        if self._awake:
            self._loop.call_later(IDLE_S, self._look)

    def _tell(self, due: Sequence[Told]) -> None:
        for link, items in groupby(due, itemgetter(0)):
            # The daemon too has lost a link that is down, and released all that was leased over it.
            if link is not None:
                with contextlib.suppress(TransportError):
                    link.note(LeasesSettled(tuple([settled for _, settled in items])))
