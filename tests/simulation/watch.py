"""What must hold of the gateway's decisions, judged by what is true and not by its own tables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

from cortex_actors.gateway.placement import Placement
from cortex_actors.gateway.placement_effects import Effect, StartLoad, StartUnload
from cortex_actors.gateway.placement_machine import Phase
from cortex_actors.serving.messages import ReplicaInUse
from tests.simulation.gateway import Gateway
from tests.simulation.world import World
from transports.schemas.fleet import ModelSpec

_HOLDING = frozenset({"preparing", "starting", "ready", "recovering", "unloading"})


class Watch:
    """Sees every effect that Placement carries out, before it does."""

    def __init__(self, world: World, gateway: Callable[[], Gateway]) -> None:
        self._world = world
        self._gateway = gateway

    def looking(self) -> AbstractContextManager[object]:
        """Watch while this is entered."""
        perform = Placement._perform

        def watched(placement: Placement, effect: Effect) -> None:
            match effect:
                case StartLoad(neuron, _, spec):
                    self._world.tell(f"load {spec.id} on {neuron}")
                    self._check_room(placement, neuron, spec)
                case StartUnload(neuron, _, model):
                    self._world.tell(f"unload {model} on {neuron}")
                    self._check_victim(placement, neuron, model)
                case _:
                    self._world.tell(f"{effect}")
            perform(placement, effect)

        return patch.object(Placement, "_perform", watched)

    def _check_room(self, placement: Placement, neuron: str, spec: ModelSpec) -> None:
        """Everything that it knows to be there or has promised fits together with the new one."""
        machine = placement._machine
        state = next(each for each in machine.fleet.states() if each.name == neuron)
        held = {
            each.id: machine._catalogue.find(each.id)
            for each in state.models
            if each.state in _HOLDING
        }
        jobs = machine.jobs()
        for model, (phase, where) in jobs.items():
            if where == neuron and phase is Phase.LOADING:
                held[model] = machine._catalogue.find(model)
        held[spec.id] = machine._catalogue.find(spec.id)
        needed = sum(entry.vram_mb for entry in held.values() if entry is not None)
        total = sum(device.memory_total_mb for device in state.devices)
        if needed > total:
            names = "+".join(sorted(held))
            self._world.violate(f"{names} need {needed} MB and {neuron} has {total}")

    def _check_victim(self, placement: Placement, neuron: str, model: str) -> None:
        """It is idle as far as anyone has said, and may be unloaded for whoever comes."""
        router = self._gateway().router
        leases = router._leases.outstanding(model, neuron)
        if leases and not _is_on_its_way(placement, model, neuron):
            self._world.violate(f"{model} on {neuron} is unloaded with {leases} leases in force")
        machine = placement._machine
        if model in machine.pins:
            self._world.violate(f"{model} on {neuron} is unloaded though it is pinned")
        jobs = machine._jobs.values()
        for job in (each for each in jobs if each.neuron == neuron and model in each.victims):
            victim = machine._catalogue.find(model)
            if victim is not None and victim.residency_priority > job.entry.residency_priority:
                self._world.violate(f"{model} of a higher class makes room for {job.entry.id}")


def _is_on_its_way(placement: Placement, model: str, neuron: str) -> bool:
    """Whether Placement has yet to read that the replica is in use."""
    inbox = placement.actor_inbox
    letters = [each.message for each in inbox._control]
    return any(
        isinstance(each, ReplicaInUse) and (each.model, each.neuron) == (model, neuron)
        for each in letters
    )
