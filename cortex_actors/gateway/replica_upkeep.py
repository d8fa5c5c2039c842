"""What becomes of replicas after their load: watched while young, unloaded when idle. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.gateway.departures import Departures
from cortex_actors.gateway.fleet_table import FleetTable
from cortex_actors.gateway.load_failures import EARLY_S, LoadFailures
from cortex_actors.gateway.placement_effects import Effects, RenewWorkers, UnloadReason
from transports.failures import FailureCode
from transports.schemas.link import Failure


@dataclass(slots=True)
class _Young:
    """``seen`` once the neuron has listed the replica as ready."""

    since: float
    seen: bool = False


@final
class ReplicaUpkeep:
    """A replica that dies young counts as a failed load. Times are monotonic seconds.

    So does one that the neuron says it has loaded and does not list as ready.
    """

    def __init__(
        self,
        fleet: FleetTable,
        failures: LoadFailures,
        departures: Departures,
        defrag_after_cycles: int,
    ) -> None:
        self._fleet = fleet
        self._failures = failures
        self._departures = departures
        self._defrag_after = defrag_after_cycles
        self._young: dict[tuple[str, str], _Young] = {}
        self._renewed: dict[str, int] = {}

    def loaded(self, model: str, neuron: str, now: float) -> None:
        """A replica has become ready."""
        known = self._fleet.state_of(model, neuron)
        young = self._young.setdefault((model, neuron), _Young(now))
        if young.seen:
            young.since = now
        young.seen = known is not None and known.state == "ready"

    def reported(self, neuron: str, now: float) -> None:
        """The neuron has said how its models are."""
        for (model, where), young in list(self._young.items()):
            if where != neuron:
                continue
            state = self._fleet.state_of(model, neuron)
            if state is not None and state.state == "ready":
                young.seen = True
            elif young.seen and (state is None or state.state == "failed"):
                why = state.error if state else "it is gone"
                self._died(model, neuron, FailureCode.WORKER_DIED, why, now)

    def lost(self, neuron: str, now: float) -> None:
        """The neuron is gone, and all of its replicas with it."""
        for model, where in list(self._young):
            if where == neuron:
                self._died(model, neuron, FailureCode.LINK_LOST, "the neuron was lost", now)

    def unloaded(self, model: str, neuron: str) -> None:
        """A replica leaves because it was told to."""
        self._young.pop((model, neuron), None)

    def tick(self, catalogue: Catalogue, pins: set[str], now: float) -> Effects:
        """A second has passed."""
        for (model, neuron), young in list(self._young.items()):
            if now - young.since < EARLY_S:
                continue
            self._fleet.release(neuron, model)
            if young.seen:
                del self._young[model, neuron]
                self._failures.healthy(model)
            else:
                why = f"the neuron has not listed it as ready within {EARLY_S:g} s"
                self._died(model, neuron, FailureCode.LOAD_FAILED, why, now)
        return [*self._unload_idle(catalogue, pins, now), *self._renew()]

    def _unload_idle(self, catalogue: Catalogue, pins: set[str], now: float) -> Effects:
        effects: Effects = []
        for model, neuron, idle_s in list(self._fleet.idle_replicas(now)):
            entry = catalogue.find(model)
            limit_s = entry.keep_loaded_s if entry and model not in pins else None
            if limit_s is not None and idle_s >= limit_s:
                self.unloaded(model, neuron)
                effects += self._departures.start(model, neuron, UnloadReason.IDLE)
        return effects

    def _renew(self) -> Effects:
        """Once per connection: a neuron that cannot do it is not asked every second."""
        effects: Effects = []
        for state in self._fleet.states() if self._defrag_after else ():
            connection = self._fleet.connection(state.name)
            if state.cycles < self._defrag_after:
                self._renewed.pop(state.name, None)
            elif (
                connection is not None
                and self._renewed.get(state.name) != connection
                and self._fleet.is_idle(state.name)
            ):
                self._renewed[state.name] = connection
                effects.append(RenewWorkers(state.name, connection))
        return effects

    def _died(self, model: str, neuron: str, code: FailureCode, why: str, now: float) -> None:
        del self._young[model, neuron]
        text = f"model '{model}' died on neuron '{neuron}' soon after it was loaded: {why}"
        self._failures.failed(model, Failure(code, text), now)
