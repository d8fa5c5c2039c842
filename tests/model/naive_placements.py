"""Placement machines with one mistake each; the model must find out every one."""

from __future__ import annotations

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.fleet_table import FleetTable, Standing
from cortex_actors.gateway.placement_effects import Effects, Waiter
from cortex_actors.gateway.placement_machine import PlacementMachine, _Job
from cortex_actors.gateway.placement_policy import Assessment, Verdict
from cortex_actors.gateway.room import Resident
from transports.schemas.fleet import ModelState
from transports.schemas.link import Failure

# The originals are final so that nobody builds on them; mistakes are the exception.


class _PromisesNothing(FleetTable):  # type: ignore[misc]
    def reserve(self, neuron: str, resident: Resident) -> None:
        pass


class _TakesBusyForIdle(FleetTable):  # type: ignore[misc]
    def _is_busy(self, state: ModelState, neuron: str) -> bool:
        return False


class ForgetsToReserve(PlacementMachine):  # type: ignore[misc]
    """Waits for the neuron's next report to know of a load."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__(catalogue)
        self.fleet = _PromisesNothing()


class EvictsTheBusy(PlacementMachine):  # type: ignore[misc]
    """Never looks whether a model is in use."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__(catalogue)
        self.fleet = _TakesBusyForIdle()


class IgnoresClasses(PlacementMachine):  # type: ignore[misc]
    """Lets any model displace any other."""

    def _standing(self, model: str, now: float) -> Standing:
        return Standing(super()._standing(model, now).memory_mb, priority=0)


class EvictsAll(PlacementMachine):  # type: ignore[misc]
    """Makes more room than is needed."""

    def assessments(self, entry: CatalogueEntry, now: float) -> list[Assessment]:
        known = super().assessments(entry, now)
        rooms = self.fleet.rooms(lambda model: self._standing(model, now))
        idle = {
            room.neuron: tuple(
                each
                for each in room.residents
                if not each.busy and each.settled and not each.pinned and each.priority <= 100
            )
            for room in rooms
        }
        return [_with_victims(each, idle[each.neuron]) for each in known]


class NotSingleFlight(PlacementMachine):  # type: ignore[misc]
    """Begins anew for everyone who asks."""

    def want(self, model: str, waiter: Waiter, now: float, *, insist: bool = False) -> Effects:
        self._jobs.pop(model, None)
        return super().want(model, waiter, now, insist=insist)


class ForgetsWhoWaitedForTheLost(PlacementMachine):  # type: ignore[misc]
    """Only notes that the neuron is gone."""

    def lost(self, neuron: str, connection: int, now: float) -> Effects:
        self.fleet.lost(neuron, connection, now)
        return []


class BelievesTheUnload(PlacementMachine):  # type: ignore[misc]
    """Takes the end of an unload for the return of the memory."""

    def _has_room(self, job: _Job, now: float) -> bool:
        return True


class TakesAnyAnswer(PlacementMachine):  # type: ignore[misc]
    """Does not ask which connection an answer comes from."""

    def load_ended(
        self, model: str, connection: int, failure: Failure | None, now: float
    ) -> Effects:
        job = self._jobs.get(model)
        return super().load_ended(model, job.connection if job else 0, failure, now)


def _with_victims(known: Assessment, victims: tuple[Resident, ...]) -> Assessment:
    if known.verdict is not Verdict.EVICT:
        return known
    return Assessment(
        known.neuron, known.verdict, known.why, known.devices, victims, known.free_mb, known.locked
    )


NAIVE = (
    ForgetsToReserve,
    EvictsTheBusy,
    IgnoresClasses,
    EvictsAll,
    NotSingleFlight,
    ForgetsWhoWaitedForTheLost,
    BelievesTheUnload,
    TakesAnyAnswer,
)
