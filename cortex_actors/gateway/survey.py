"""What every neuron could do for a model, kept until something that it rests on changes. Pure.

A neuron's report tells of that neuron alone, while every job that waits is tried again: without
this, each report of a large and full fleet would have all its neurons judged once per job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from cortex_actors.gateway.fleet_table import FleetTable, Standing
from cortex_actors.gateway.placement_policy import Assessment, Wanted, assess
from cortex_actors.gateway.room import Room
from cortex_actors.gateway.victims import Strategy

Surveyed = tuple[Room, Assessment]


@final
class Survey:
    """Rooms by neuron, and for each model that was asked for what was found in them.

    What the table says of a neuron is followed by its version. All else, such as what ``standing``
    says, is not: whoever knows it to have changed calls ``forget``.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy: Strategy = strategy
        self._rooms: dict[str, tuple[int, Room]] = {}
        self._found: dict[Wanted, dict[str, Surveyed]] = {}

    def forget(self) -> None:
        """Judge everything anew when it is next asked for."""
        self._rooms.clear()
        self._found.clear()

    def of(
        self, fleet: FleetTable, wanted: Wanted, standing: Callable[[str], Standing]
    ) -> list[Surveyed]:
        """Return every neuron's room and what can be done there for ``wanted``."""
        found = self._found.setdefault(wanted, {})
        surveyed = []
        for neuron, version in fleet.versions():
            kept = self._rooms.get(neuron)
            if kept is None or kept[0] != version:
                kept = self._rooms[neuron] = version, fleet.room(neuron, standing)
            room, known = kept[1], found.get(neuron)
            if known is None or known[0] is not room:
                saved_s = fleet.saved_s(wanted.spec.id, neuron)
                known = found[neuron] = room, assess(wanted, room, self._strategy, saved_s)
            surveyed.append(known)
        return surveyed
