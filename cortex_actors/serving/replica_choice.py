"""Where a request goes: the choice among the replicas that could serve it. Pure.

The replica with the fewest outstanding tokens relative to its capacity wins; equal ones are told
apart by the neuron's name, so that the same state always gives the same answer. A replica that has
seen the prompt's beginning goes first unless it is much busier.

Replicas are indexed when the fleet changes and not when a request comes, and the least loaded is on
top of a heap: a decision takes the same time however many neurons there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, final

from cortex_actors.serving.prefix_affinity import PrefixAffinity
from cortex_actors.serving.routing import is_servable
from transports.schemas.fleet import ModelState, NeuronState

OVERRIDE: Final = 1.5
SLACK: Final = 2.0
"""A replica that knows the prompt's beginning may be so many times as busy as the least loaded one,
and so many requests like this one more."""
ONLY: Final = "only"
"""Why a replica was chosen: there is no other."""

Load = Callable[[str, str], float]


@final
@dataclass(frozen=True, slots=True)
class Chosen:
    """A replica; ``why`` is for people: only, least_loaded or prefix."""

    replica: ModelState
    why: str


class _Replicas:
    """One model's: entries of the heap whose load has changed since are out of date."""

    def __init__(self) -> None:
        self.by_neuron: dict[str, ModelState] = {}
        self.loads: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def update(self, neuron: str, load: float) -> None:
        if neuron in self.by_neuron:
            self.loads[neuron] = load
            heapq.heappush(self._heap, (load, neuron))
        if len(self._heap) > 64 + 4 * len(self.by_neuron):
            self._heap = [(load, neuron) for neuron, load in self.loads.items()]
            heapq.heapify(self._heap)

    def least_loaded(self, avoid: Collection[str]) -> ModelState | None:
        passed_over: list[tuple[float, str]] = []
        found: ModelState | None = None
        while self._heap and found is None:
            load, neuron = self._heap[0]
            replica = self.by_neuron.get(neuron)
            if replica is None or self.loads[neuron] != load:
                heapq.heappop(self._heap)
            elif replica.endpoint in avoid:
                passed_over.append(heapq.heappop(self._heap))
            else:
                found = replica
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found


@final
class ReplicaChoice:
    """All replicas that may be routed to now, by model.

    ``load(model, neuron)`` is how many tokens the router itself has leased out there and not got
    back; it is used rather than the neuron's own count, which is older.
    """

    def __init__(self, load: Load, affinity: PrefixAffinity | None = None) -> None:
        self._load = load
        self._affinity = affinity or PrefixAffinity()
        self._models: dict[str, _Replicas] = {}
        self._fleet: tuple[NeuronState, ...] = ()

    def see(self, fleet: tuple[NeuronState, ...]) -> None:
        """The fleet is so now; the same snapshot costs nothing."""
        if fleet is self._fleet:
            return
        self._fleet = fleet
        self._models = {}
        for neuron in fleet:
            for state in neuron.models:
                if is_servable(state, neuron):
                    replicas = self._models.setdefault(state.id, _Replicas())
                    replicas.by_neuron[neuron.name] = state
                    replicas.update(neuron.name, self._relative(state, neuron.name))

    def changed(self, model: str, neuron: str) -> None:
        """The load of this replica is another now."""
        replicas = self._models.get(model)
        state = replicas.by_neuron.get(neuron) if replicas else None
        if replicas is not None and state is not None:
            replicas.update(neuron, self._relative(state, neuron))

    def served(self, model: str, prefix: Sequence[int], neuron: str) -> None:
        """A prompt that begins so has come to this replica without having been asked about."""
        self._affinity.saw(model, prefix, neuron)

    def endpoint(self, model: str, neuron: str) -> str:
        """Return where this replica's engine listens now; empty if it cannot be routed to."""
        replicas = self._models.get(model)
        state = replicas.by_neuron.get(neuron) if replicas else None
        return state.endpoint if state else ""

    def choose(
        self, model: str, tokens: int = 1, prefix: Sequence[int] = (), avoid: Collection[str] = ()
    ) -> Chosen | None:
        """Return the replica for a request of about ``tokens``, or None when there is none.

        The endpoints of ``avoid`` are passed over.
        """
        replicas = self._models.get(model)
        least = replicas.least_loaded(avoid) if replicas else None
        if replicas is None or least is None:
            return None
        chosen = Chosen(least, ONLY if len(replicas.by_neuron) == 1 else "least_loaded")
        known = self._that_knows(model, tokens, prefix, avoid, replicas, least)
        if known is not None and chosen.why != ONLY:
            chosen = Chosen(known, "prefix")
        self._affinity.saw(model, prefix, chosen.replica.neuron)
        return chosen

    def _that_knows(
        self,
        model: str,
        tokens: int,
        prefix: Sequence[int],
        avoid: Collection[str],
        replicas: _Replicas,
        least: ModelState,
    ) -> ModelState | None:
        """The least loaded of those that know the prefix, unless it is too busy."""
        names = [each for each in self._affinity.longest(model, prefix) if each in replicas.loads]
        names = [each for each in names if replicas.by_neuron[each].endpoint not in avoid]
        if not names:
            return None
        name = min(names, key=lambda each: (replicas.loads[each], each))
        known = replicas.by_neuron[name]
        slack = SLACK * tokens / max(known.capacity, 1)
        limit = OVERRIDE * replicas.loads[least.neuron] + slack
        return known if replicas.loads[name] <= limit else None

    def _relative(self, state: ModelState, neuron: str) -> float:
        return self._load(state.id, neuron) / max(state.capacity, 1)
