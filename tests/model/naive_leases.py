"""Lease tables with one mistake each; the model must find out every one."""

from __future__ import annotations

from cortex_actors.serving.lease_table import Grant, Holder, LeaseTable

# The originals are final so that nobody builds on them; mistakes are the exception.


class AnyoneSettles(LeaseTable):  # type: ignore[misc]
    """Believes whoever names a lease."""

    def settle(self, holder: Holder, lease: int) -> Grant | None:
        grant = self._grants.get(lease)
        return None if grant is None else self._end(grant)


class EndsTwice(LeaseTable):  # type: ignore[misc]
    """Counts a lease down again when it is settled again."""

    def _end(self, grant: Grant) -> Grant:
        self._outstanding[grant.model, grant.neuron] -= 1
        return grant


class ForgetsToCount(LeaseTable):  # type: ignore[misc]
    """Leaves the leases of a lost holder in the count."""

    def release_all(self, holder: Holder) -> tuple[Grant, ...]:
        lost = tuple(grant for grant in self._grants.values() if grant.holder == holder)
        for grant in lost:
            del self._grants[grant.lease]
        return lost


class ReleasesTheWholeProcess(LeaseTable):  # type: ignore[misc]
    """Takes the holders of one boot for one."""

    def release_all(self, holder: Holder) -> tuple[Grant, ...]:
        lost = tuple(grant for grant in self._grants.values() if grant.holder[0] == holder[0])
        return tuple(map(self._end, lost))


class ForgetsNoRequest(LeaseTable):  # type: ignore[misc]
    """Takes whoever uses a kept lease for the one that it was granted to."""

    def used(self, holder: Holder, lease: int) -> Grant | None:
        return self._held_by(holder, lease)


class EndsWhatIsKept(LeaseTable):  # type: ignore[misc]
    """Counts a lease down when its first request is over."""

    def used(self, holder: Holder, lease: int) -> Grant | None:
        return self.settle(holder, lease)


NAIVE = (
    AnyoneSettles,
    EndsTwice,
    ForgetsToCount,
    ReleasesTheWholeProcess,
    ForgetsNoRequest,
    EndsWhatIsKept,
)
