"""Where in the fleet each model of the catalogue could be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

import msgspec

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.placement_policy import Wanted, obstacle
from cortex_actors.gateway.room import Room
from cortex_actors.serving.abilities import Records, records_of
from cortex_actors.serving.model_cards import card
from transports.schemas.fleet import ModelCard, NeuronState


@final
@dataclass(frozen=True, slots=True)
class PlacementNotes:
    """What only Placement knows: the pinned models, and why others are not tried any more.

    ``heard`` is when each neuron on the board said what stands there, in monotonic seconds.
    """

    pins: frozenset[str] = frozenset()
    given_up: Mapping[str, str] = field(default_factory=dict)
    heard: Mapping[str, float] = field(default_factory=dict)


def fleet_cards(
    catalogue: Catalogue,
    created: Mapping[str, int],
    neurons: Iterable[NeuronState],
    notes: PlacementNotes,
) -> tuple[ModelCard, ...]:
    """Return a card per model, in the catalogue's order; ``created`` in Unix seconds by id.

    A neuron that is down counts by what it said last: it could hold the model once it is back. One
    that has never answered is neither among those that could nor among those that could not, unless
    the model is pinned elsewhere.
    """
    known = sorted(neurons, key=lambda neuron: neuron.name)
    records = records_of(known)
    return tuple(_card(entry, created, known, records, notes) for entry in catalogue.models)


def _card(
    entry: CatalogueEntry,
    created: Mapping[str, int],
    neurons: list[NeuronState],
    records: Records,
    notes: PlacementNotes,
) -> ModelCard:
    measured_mb = max((each.memory_mb for each in records.get(entry.id, ())), default=0)
    need = Wanted.of(entry, measured_mb)
    rooms = [
        Room(each.name, True, each.devices, known=each.boot != 0, harnesses=each.harnesses)
        for each in neurons
    ]
    why = {room.neuron: obstacle(need, room) for room in rooms}
    return msgspec.structs.replace(
        card(entry, records),
        created=created.get(entry.id, 0),
        pinned=entry.id in notes.pins,
        feasible_on=tuple(room.neuron for room in rooms if room.known and not why[room.neuron]),
        infeasible={name: reason for name, reason in why.items() if reason},
        error=notes.given_up.get(entry.id, ""),
    )
