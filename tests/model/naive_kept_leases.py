"""Kept leases with one mistake each; the model must find out every one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cortex_actors.http.kept_leases import HeldLease, KeptLeases, Told
from transports.link import Link
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled

# The originals are final so that nobody builds on them; mistakes are the exception.


class KeepsForEver(KeptLeases):  # type: ignore[misc]
    """Uses a lease as long as there are requests for it."""

    def granted(
        self, lease: Lease, wanted: LeaseRequest, link: Link | None, now: float
    ) -> HeldLease:
        held = super().granted(lease, wanted, link, now)
        held.until = math.inf if lease.keep_s else 0.0
        return held


class KeepsWhatMayNotBeKept(KeptLeases):  # type: ignore[misc]
    """Does not look whether the router has allowed it."""

    def granted(
        self, lease: Lease, wanted: LeaseRequest, link: Link | None, now: float
    ) -> HeldLease:
        held = super().granted(lease, wanted, link, now)
        held.until = now + 1.0
        return held


class LendsItTwice(KeptLeases):  # type: ignore[misc]
    """Leaves a lease among the idle ones when it is taken."""

    def take(self, wanted: LeaseRequest, link: Link | None, now: float) -> HeldLease | None:
        held = super().take(wanted, link, now)
        if held is not None:
            self._idle.setdefault((held.name, held.task), []).append(held)
        return held


class MixesTasks(KeptLeases):  # type: ignore[misc]
    """Takes whatever lease there is for the model."""

    def take(self, wanted: LeaseRequest, link: Link | None, now: float) -> HeldLease | None:
        for task in ("generate", "embed"):
            other = LeaseRequest(
                wanted.request_id, wanted.model, avoid=wanted.avoid, prefix=wanted.prefix, task=task
            )
            held = super().take(other, link, now)
            if held is not None:
                return held
        return None


class IgnoresWhatIsAvoided(KeptLeases):  # type: ignore[misc]
    """Sends a request back to where it has failed."""

    def take(self, wanted: LeaseRequest, link: Link | None, now: float) -> HeldLease | None:
        other = LeaseRequest(
            wanted.request_id, wanted.model, prefix=wanted.prefix, task=wanted.task
        )
        return super().take(other, link, now)


class UsesALostLink(KeptLeases):  # type: ignore[misc]
    """Goes on with leases that the daemon has released with their link."""

    def take(self, wanted: LeaseRequest, link: Link | None, now: float) -> HeldLease | None:
        for idle in self._idle.values():
            for held in idle:
                link = held.link
        return super().take(wanted, link, now)


class ForgetsTheOneBefore(KeptLeases):  # type: ignore[misc]
    """Tells only of the request that a lease ends with."""

    def _tell(self, held: HeldLease, *, kept: bool) -> None:
        if kept:
            held.settled = None
        super()._tell(held, kept=kept)


class EndsWithEachRequest(KeptLeases):  # type: ignore[misc]
    """Says of a lease that goes on that it has ended."""

    def _tell(self, held: HeldLease, *, kept: bool) -> None:
        del kept
        super()._tell(held, kept=False)


class NamesTheFirst(KeptLeases):  # type: ignore[misc]
    """Tells of all requests as if they were the one that the lease was granted to."""

    def ended(self, held: HeldLease, settled: LeaseSettled, now: float) -> bool:
        held.again = None
        return super().ended(held, settled, now)


class NeverIdle(KeptLeases):  # type: ignore[misc]
    """Keeps what nobody wants as long as it may."""

    def due(self, now: float) -> Sequence[Told]:
        for idle in self._idle.values():
            for held in idle:
                held.idle_at = now
        return super().due(now)


class TrustsASickEngine(KeptLeases):  # type: ignore[misc]
    """Sends more requests to an engine that has just failed one."""

    def lost(self, endpoint: str) -> None:
        del endpoint


NAIVE = (
    KeepsForEver,
    KeepsWhatMayNotBeKept,
    LendsItTwice,
    MixesTasks,
    IgnoresWhatIsAvoided,
    UsesALostLink,
    ForgetsTheOneBefore,
    EndsWithEachRequest,
    NamesTheFirst,
    NeverIdle,
    TrustsASickEngine,
)
