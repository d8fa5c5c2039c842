"""What loading a model would do to the fleet now, for people. Pure.

It is composed of what ``PlacementMachine`` itself decides by, and decides nothing.
"""

from __future__ import annotations

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.gateway.placement_machine import PlacementMachine
from cortex_actors.gateway.placement_policy import Assessment, Wanted, best
from cortex_actors.gateway.room import Room
from cortex_actors.serving.routing import servable
from transports.schemas.fleet import ModelRecord
from transports.schemas.operations import DevicePlan, LoadPlan, NeuronPlan, VictimPlan


def plan(entry: CatalogueEntry, machine: PlacementMachine, now: float) -> LoadPlan:
    """Return what every neuron could do for the model, by name, and which one would load it."""
    need = Wanted.of(entry, machine.fleet.measured_mb(entry.id))
    survey = machine.survey(entry, now)
    ready = servable(entry.id, machine.fleet.states())
    chosen = None if ready else best([found for _, found in survey])
    return LoadPlan(
        model=entry.id,
        memory_mb=need.memory_mb,
        chosen="" if chosen is None else chosen.neuron,
        neurons=tuple(
            _neuron(need, room, found, machine.fleet.record(entry.id, room.neuron))
            for room, found in sorted(survey, key=lambda each: each[0].neuron)
        ),
        loaded_on=tuple(sorted(state.neuron for state in ready)),
    )


def _neuron(need: Wanted, room: Room, found: Assessment, record: ModelRecord) -> NeuronPlan:
    return NeuronPlan(
        neuron=room.neuron,
        verdict=found.verdict.value,
        why=found.why,
        load_s=record.warm_load_s if record.warm else record.cold_load_s,
        warm=record.warm,
        busy=room.locked,
        victims=tuple(
            VictimPlan(each.model, each.memory_mb, round(each.cost_s, 3)) for each in found.victims
        ),
        devices=_devices(need, room, found),
    )


def _devices(need: Wanted, room: Room, found: Assessment) -> tuple[DevicePlan, ...]:
    gone = [each.model for each in found.victims]
    rows = []
    for device in room.devices:
        taken = need.each_mb if device.id in found.devices else 0
        before, after = room.free_mb(device), room.free_mb(device, gone) - taken
        rows.append(DevicePlan(device.id, max(before, 0), max(after, 0)))
    return tuple(rows)
