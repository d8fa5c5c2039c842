"""Leases that serve one request after another, so that a busy front end asks less often. Pure.

A lease that may be kept is idle once its request has ended well, and the next request for the same
name and task takes it, the one that was used last first. It is given back when nobody has wanted it
for ``IDLE_S``, when its time is over, or when its engine does not do what it should.

What became of a request is told together with what becomes of its lease, so one that nobody uses
again costs one message like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import msgspec

from transports.link import Link
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled

IDLE_S: Final = 0.02
MOST_UNTOLD: Final = 256
"""So many requests may wait to be told of."""

Told = tuple[Link | None, LeaseSettled]
"""What became of a request, and the link over which its lease came."""

_WELL: Final = frozenset({"completed", "cancelled"})


@dataclass(slots=True, eq=False)
class HeldLease:
    """A lease in our hands, granted over ``link``; ``until`` is monotonic.

    ``again`` is the request that uses it now, if it is not the first. ``settled`` is what became of
    the one before, as long as it is idle and that has not been told.
    """

    lease: Lease
    link: Link | None
    name: str
    task: str
    until: float
    again: LeaseRequest | None = None
    settled: LeaseSettled | None = None
    idle_at: float = 0.0


@final
class KeptLeases:
    """One front-end process's. ``now`` is monotonic seconds throughout."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], list[HeldLease]] = {}
        self._untold: list[Told] = []

    def granted(
        self, lease: Lease, wanted: LeaseRequest, link: Link | None, now: float
    ) -> HeldLease:
        """A request has got this lease."""
        return HeldLease(lease, link, wanted.model, wanted.task, now + lease.keep_s)

    def take(self, wanted: LeaseRequest, link: Link | None, now: float) -> HeldLease | None:
        """Return an idle lease that was granted over ``link`` and will do, or None."""
        if wanted.avoid:
            return None
        idle = self._idle.get((wanted.model, wanted.task))
        while idle:
            held = idle.pop()
            kept = held.link is link and now < held.until
            self._tell(held, kept=kept)
            if kept:
                held.again = wanted
                return held
        return None

    def ended(self, held: HeldLease, settled: LeaseSettled, now: float) -> bool:
        """The request that used it is over; return whether to tell at once what is ``due``."""
        if held.again is not None:
            settled = msgspec.structs.replace(
                settled, request_id=held.again.request_id, prefix=held.again.prefix
            )
        held.settled = settled
        if settled.outcome in _WELL and now < held.until:
            held.idle_at = now
            self._idle.setdefault((held.name, held.task), []).append(held)
            return len(self._untold) >= MOST_UNTOLD
        self._tell(held, kept=False)
        if settled.outcome not in _WELL:
            self.lost(held.lease.endpoint)
        return True

    def lost(self, endpoint: str) -> None:
        """The engine there is not what it was: nothing that is idle there is used again."""
        self._end(lambda each: each.lease.endpoint == endpoint)

    def due(self, now: float) -> Sequence[Told]:
        """Return what is to be told now, each over its link; what is idle for too long is over."""
        self._end(lambda each: now >= min(each.until, each.idle_at + IDLE_S))
        return self._take_untold()

    def end_all(self) -> Sequence[Told]:
        """Return what is to be told before we leave; nothing is idle any more."""
        self._end(lambda _: True)
        return self._take_untold()

    @property
    def is_empty(self) -> bool:
        """Whether nothing will be due."""
        return not self._idle and not self._untold

    def _end(self, is_over: Callable[[HeldLease], bool]) -> None:
        for key, idle in list(self._idle.items()):
            for held in filter(is_over, tuple(idle)):
                idle.remove(held)
                self._tell(held, kept=False)
            if not idle:
                del self._idle[key]

    def _take_untold(self) -> Sequence[Told]:
        untold, self._untold = self._untold, []
        return untold

    def _tell(self, held: HeldLease, *, kept: bool) -> None:
        settled, held.settled = held.settled, None
        if settled is not None:
            settled = msgspec.structs.replace(settled, kept=True) if kept else settled
            self._untold.append((held.link, settled))
