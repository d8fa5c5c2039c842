"""The rules by which models are loaded, evicted and unloaded. Pure: events in, effects out.

One job per model, whoever waits for it; one job at a time per neuron. A job that must evict goes
through four phases: it is queued until the policy names a neuron; the victims are drained and
unloaded; the neuron's own account must show their memory free again; then the model is loaded.
Every waiter gets exactly one ``Loaded``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.demand import Demand
from cortex_actors.gateway.departures import Departures, has_left
from cortex_actors.gateway.fleet_table import FleetTable, Standing
from cortex_actors.gateway.load_failures import LoadFailures
from cortex_actors.gateway.placement_effects import (
    CancelLoad,
    Effects,
    Loaded,
    StartLoad,
    UnloadReason,
    Waiter,
)
from cortex_actors.gateway.placement_policy import (
    Assessment,
    Verdict,
    Wanted,
    assess,
    best,
)
from cortex_actors.gateway.refusals import held, lost, nowhere, unknown, withheld
from cortex_actors.gateway.replica_upkeep import ReplicaUpkeep
from cortex_actors.gateway.room import Resident
from cortex_actors.gateway.survey import Survey, Surveyed
from cortex_actors.gateway.victims import Strategy
from transports.failures import FailureCode
from transports.schemas.fleet import NeuronState
from transports.schemas.link import Failure

VERIFY_S: Final = 10.0
MOST_TRIES: Final = 3
_ELSEWHERE: Final = frozenset(
    {
        FailureCode.LINK_LOST,
        FailureCode.INSUFFICIENT_DEVICES,
        FailureCode.DEVICE_LOST,
        FailureCode.SHUTTING_DOWN,
    }
)
"""Failures of a load that another neuron may not have."""


class Phase(Enum):
    """How far a job is."""

    QUEUED = "queued"
    EVICTING = "evicting"
    VERIFYING = "verifying"
    LOADING = "loading"


@dataclass(slots=True)
class _Job:
    """One model's way to a neuron; ``waiters`` is a set that keeps its order."""

    entry: CatalogueEntry
    since: float
    waiters: dict[Waiter, None] = field(default_factory=dict)
    phase: Phase = Phase.QUEUED
    neuron: str = ""
    connection: int = 0
    victims: set[str] = field(default_factory=set)
    until: float = 0.0
    tried: dict[str, Failure] = field(default_factory=dict)


@final
class PlacementMachine:
    """All jobs. Times are monotonic seconds.

    ``news`` says that a report has changed what matters to routing; whoever passes it on resets it.
    """

    def __init__(
        self, catalogue: Catalogue, strategy: Strategy = "cost", defrag_after_cycles: int = 0
    ) -> None:
        self.fleet = FleetTable()
        self.demand = Demand()
        self.failures = LoadFailures()
        self.pins: set[str] = set()
        self.news = False
        self._catalogue = catalogue
        self._strategy: Strategy = strategy
        self._survey = Survey(strategy)
        self._pinned: set[str] = set()
        self._jobs: dict[str, _Job] = {}
        self._departures = Departures(self.fleet)
        self._upkeep = ReplicaUpkeep(
            self.fleet, self.failures, self._departures, defrag_after_cycles
        )

    # -- wishes ---------------------------------------------------------------------------------

    def want(self, model: str, waiter: Waiter, now: float, *, insist: bool = False) -> Effects:
        """Somebody waits for the model; with ``insist`` earlier failures do not count."""
        entry = self._catalogue.find(model)
        if entry is None:
            return [Loaded(waiter, model, unknown(model))]
        if self.fleet.is_servable(entry.id):
            return [Loaded(waiter, entry.id, None)]
        job = self._jobs.get(entry.id)
        if job is None:
            if insist:
                self.failures.healthy(entry.id)
            refusal = self.failures.refusal(entry.id, now)
            if refusal is not None:
                return [Loaded(waiter, entry.id, refusal)]
            job = self._jobs[entry.id] = _Job(entry, now)
        job.waiters[waiter] = None
        return self._drive(now)

    def unwanted(self, model: str, waiter: Waiter, now: float) -> Effects:
        """The waiter has left; without any the job ends, unless the catalogue says otherwise."""
        job = self._jobs.get(model)
        if job is None or waiter not in job.waiters:
            return []
        del job.waiters[waiter]
        if job.waiters or job.entry.keep_load:
            return []
        if job.phase is Phase.LOADING:
            return [CancelLoad(job.neuron, job.connection, model)]
        self._end(job)
        return self._drive(now)

    def unload(self, model: str, waiter: Waiter) -> Effects:
        """An operator wants the model unloaded everywhere."""
        for neuron in self.fleet.holders(model):
            self._upkeep.unloaded(model, neuron)
        return self._departures.everywhere(model, waiter)

    def reload(self, catalogue: Catalogue, now: float) -> Effects:
        """Another catalogue is in force; what failed under the old one may be tried again."""
        for model in self.failures.given_up():
            if catalogue.find(model) != self._catalogue.find(model):
                self.failures.healthy(model)
        self._catalogue = catalogue
        self._survey.forget()
        effects: Effects = []
        for job in list(self._jobs.values()):
            entry = catalogue.find(job.entry.id)
            if entry is not None:
                job.entry = entry
            elif job.phase is Phase.QUEUED:
                effects += self._finish(job, unknown(job.entry.id), now)
        return effects + self._drive(now)

    # -- news -----------------------------------------------------------------------------------

    def reported(self, state: NeuronState, connection: int, now: float) -> Effects:
        """A neuron has said this over this connection."""
        self.news = self.fleet.reported(state, connection, now) or self.news
        self._upkeep.reported(state.name, now)
        return self._arrived(connection, now) + self._verify(now) + self._drive(now)

    def lost(self, neuron: str, connection: int, now: float) -> Effects:
        """A connection is over; nothing that was asked over it will be answered."""
        effects: Effects = []
        for model in self._departures.over(connection):
            effects += self._unload_ended(model, connection, lost(neuron, model, "unloading"), now)
        self.fleet.lost(neuron, connection, now)
        for job in [each for each in self._jobs.values() if each.connection == connection]:
            failure = lost(neuron, job.entry.id, "loading")
            if job.phase is Phase.LOADING:
                effects += self._load_failed(job, failure, now)
            elif job.phase is not Phase.QUEUED:
                self._requeue(job, failure)
        self._upkeep.lost(neuron, now)
        return effects + self._drive(now)

    def load_ended(
        self, model: str, connection: int, failure: Failure | None, now: float
    ) -> Effects:
        """The one terminal event of a ``StartLoad``; that of an earlier one changes nothing."""
        job = self._jobs.get(model)
        if job is None or job.phase is not Phase.LOADING or job.connection != connection:
            return []
        if failure is not None:
            return self._load_failed(job, failure, now) + self._drive(now)
        return self._loaded(job, now) + self._drive(now)

    def unload_ended(
        self, model: str, connection: int, failure: Failure | None, now: float
    ) -> Effects:
        """The one terminal event of a ``StartUnload``."""
        effects = self._unload_ended(model, connection, failure, now)
        return effects + self._verify(now) + self._drive(now)

    def tick(self, now: float) -> Effects:
        """Time has passed; call it every second."""
        self.fleet.look(now)
        self._survey.forget()
        for job in list(self._jobs.values()):
            if job.phase is Phase.VERIFYING and now >= job.until:
                self._requeue(job, withheld(job.neuron, job.entry.id, VERIFY_S))
        return [*self._upkeep.tick(self._catalogue, self.pins, now), *self._drive(now)]

    def idle(self, now: float) -> Effects:
        """A replica has given back its last lease: somebody may have waited for that."""
        return self._drive(now)

    def demanded(self, requests: Mapping[str, int], now: float) -> None:
        """So many requests have come for each of these since the last time."""
        self.demand.observe(requests, now)
        self._survey.forget()

    # -- what is shown --------------------------------------------------------------------------

    def survey(self, entry: CatalogueEntry, now: float) -> list[Surveyed]:
        """Every neuron, and what it could do for the model; what a job decides by.

        How likely a model is to be wanted soon is as of the last tick.
        """
        if self.pins != self._pinned:
            self._pinned = set(self.pins)
            self._survey.forget()
        return self._survey.of(
            self.fleet, self._wanted(entry), lambda model: self._standing(model, now)
        )

    def assessments(self, entry: CatalogueEntry, now: float) -> list[Assessment]:
        """What every neuron could do for the model now."""
        return [found for _, found in self.survey(entry, now)]

    def jobs(self) -> dict[str, tuple[Phase, str]]:
        """Each job's phase and neuron."""
        return {model: (job.phase, job.neuron) for model, job in self._jobs.items()}

    # -- inside ---------------------------------------------------------------------------------

    def _drive(self, now: float) -> Effects:
        effects: Effects = []
        for job in list(self._jobs.values()):
            if job.phase is Phase.QUEUED and self._jobs.get(job.entry.id) is job:
                effects += self._try(job, now)
        return effects

    def _try(self, job: _Job, now: float) -> Effects:
        servable = self.fleet.is_servable(job.entry.id)
        refusal = None if servable else self.failures.refusal(job.entry.id, now)
        if servable or refusal is not None:
            return self._finish(job, refusal, now)
        coming = self.fleet.coming(job.entry.id)
        connection = self.fleet.connection(coming) if coming else None
        # Who has just refused it would do so again, as often as we ask.
        if coming and connection is not None and coming not in job.tried:
            return self._load(job, coming, connection)
        known = self.assessments(job.entry, now)
        untried = [each for each in known if each.neuron not in job.tried]
        chosen = best(untried)
        if chosen is None:
            return self._stuck(job, untried, now)
        connection = self.fleet.connection(chosen.neuron)
        frozen = chosen.victims and self.fleet.doubtful
        if chosen.locked or frozen or connection is None:
            return []
        promise = Resident(
            job.entry.id, chosen.devices, self._wanted(job.entry).memory_mb, settled=False
        )
        self.fleet.reserve(chosen.neuron, promise)
        if not chosen.victims:
            return self._load(job, chosen.neuron, connection)
        job.phase, job.neuron, job.connection = Phase.EVICTING, chosen.neuron, connection
        job.victims = {each.model for each in chosen.victims}
        return [
            each
            for victim in sorted(job.victims)
            for each in self._start_unload(victim, chosen.neuron, UnloadReason.ROOM)
        ]

    def _stuck(self, job: _Job, untried: list[Assessment], now: float) -> Effects:
        # What is locked may look different once its neuron has reported again.
        if any(each.verdict is Verdict.WAIT or each.locked for each in untried):
            return []
        if job.tried:
            return self._finish(job, list(job.tried.values())[-1], now)
        if any(each.verdict is Verdict.HELD for each in untried):
            return self._finish(job, held(job.entry.id, untried), now)
        return self._finish(job, nowhere(job.entry.id, untried), now)

    def _load(self, job: _Job, neuron: str, connection: int) -> Effects:
        job.phase, job.neuron, job.connection = Phase.LOADING, neuron, connection
        return [StartLoad(neuron, connection, job.entry.spec())]

    def _arrived(self, connection: int, now: float) -> Effects:
        """A model that its neuron says is ready has been loaded, even if the answer was lost."""
        effects: Effects = []
        for job in list(self._jobs.values()):
            if job.phase is Phase.LOADING and job.connection == connection:
                state = self.fleet.state_of(job.entry.id, job.neuron)
                if state is not None and state.state == "ready":
                    effects += self._loaded(job, now)
        return effects

    def _loaded(self, job: _Job, now: float) -> Effects:
        self._upkeep.loaded(job.entry.id, job.neuron, now)
        self.fleet.loaded(job.entry.id, job.neuron, now)
        return self._finish(job, None, now)

    def _load_failed(self, job: _Job, failure: Failure, now: float) -> Effects:
        effects: Effects = []
        if failure.code == FailureCode.CANCELLED:
            self.fleet.left(job.neuron, job.entry.id, now, gone=True)
        if failure.code == FailureCode.CANCELLED and job.waiters:
            self.fleet.release(job.neuron, job.entry.id)
            job.phase = Phase.QUEUED
            return effects
        if failure.code == FailureCode.DEADLINE_EXCEEDED:
            effects += self._start_unload(job.entry.id, job.neuron, UnloadReason.OVERDUE)
        if failure.code in _ELSEWHERE and len(job.tried) + 1 < MOST_TRIES:
            self._requeue(job, failure)
            return effects
        self.failures.failed(job.entry.id, failure, now)
        return effects + self._finish(job, failure, now)

    def _requeue(self, job: _Job, failure: Failure) -> None:
        self.fleet.release(job.neuron, job.entry.id)
        job.tried[job.neuron] = failure
        job.phase, job.victims = Phase.QUEUED, set()

    def _finish(self, job: _Job, failure: Failure | None, now: float) -> Effects:
        if failure is None:
            del self._jobs[job.entry.id]
        else:
            self._end(job)
        return [Loaded(waiter, job.entry.id, failure, now - job.since) for waiter in job.waiters]

    def _end(self, job: _Job) -> None:
        self.fleet.release(job.neuron, job.entry.id)
        del self._jobs[job.entry.id]

    def _start_unload(self, model: str, neuron: str, why: UnloadReason) -> Effects:
        self._upkeep.unloaded(model, neuron)
        return self._departures.start(model, neuron, why)

    def _unload_ended(
        self, model: str, connection: int, failure: Failure | None, now: float
    ) -> Effects:
        effects = self._departures.ended(model, connection, failure, now)
        for job in list(self._jobs.values()):
            if job.phase is Phase.EVICTING and job.connection == connection:
                job.victims.discard(model)
                if failure is not None and not has_left(failure):
                    self._requeue(job, failure)
        return effects

    def _verify(self, now: float) -> Effects:
        """Load what has got its room; the neuron's own account is what counts."""
        effects: Effects = []
        for job in list(self._jobs.values()):
            if job.phase is Phase.EVICTING and not job.victims:
                job.phase, job.until = Phase.VERIFYING, now + VERIFY_S
            if job.phase is Phase.VERIFYING and self._has_room(job, now):
                effects += self._load(job, job.neuron, job.connection)
        return effects

    def _has_room(self, job: _Job, now: float) -> bool:
        if not self.fleet.is_accounted(job.neuron):
            return False
        room = self.fleet.room(job.neuron, lambda model: self._standing(model, now))
        others = tuple(each for each in room.residents if each.model != job.entry.id)
        free = assess(self._wanted(job.entry), room.holding(others), self._strategy)
        return free.verdict is Verdict.FREE

    def _wanted(self, entry: CatalogueEntry) -> Wanted:
        return Wanted.of(entry, self.fleet.measured_mb(entry.id))

    def _standing(self, model: str, now: float) -> Standing:
        entry = self._catalogue.find(model)
        pinned, likely = model in self.pins, self.demand.probability(model, now)
        if entry is None:
            return Standing(pinned=pinned, probability=likely)
        return Standing(entry.vram_mb, entry.residency_priority, pinned, likely)
