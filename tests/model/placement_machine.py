"""Placement among neurons that load, refuse, die and are slow to give memory back.

The neurons here are strict: a load for which the device has no room, a second load of one model, or
an eviction of a model that is in use, pinned or of a higher class breaks the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.placement_effects import (
    CancelLoad,
    Effects,
    Loaded,
    StartLoad,
    StartUnload,
    Unloaded,
)
from cortex_actors.gateway.placement_machine import VERIFY_S, Phase, PlacementMachine
from cortex_actors.gateway.survey import Survey
from transports.failures import FailureCode
from transports.schemas.fleet import DeviceState, ModelSpec, ModelState, NeuronState
from transports.schemas.link import Failure

EVICTING = Phase.EVICTING
TOTAL_MB = 1000
DEVICES = {"n1": ("d0",), "n2": ("d0", "d1")}
ENTRIES = {
    entry.id: entry
    for entry in (
        CatalogueEntry(id="big", source="file:///big.gguf", vram_mb=600),
        CatalogueEntry(id="other", source="file:///other.gguf", vram_mb=500),
        CatalogueEntry(id="small", source="file:///small.gguf", vram_mb=300, residency_priority=50),
        CatalogueEntry(id="wide", source="file:///wide.gguf", vram_mb=1800, min_devices=2),
        CatalogueEntry(id="vip", source="file:///vip.gguf", vram_mb=700, residency_priority=900),
    )
}
MODELS = st.sampled_from(sorted(ENTRIES))
NEURONS = st.sampled_from(sorted(DEVICES))


@dataclass
class Held:
    """A model on a strict neuron; ``state`` is None when it is gone and its memory is not."""

    devices: tuple[str, ...]
    each_mb: int
    state: str | None


@dataclass
class StrictNeuron:
    """What is true of a neuron, whatever the gateway believes."""

    name: str
    connection: int
    held: dict[str, Held] = field(default_factory=dict)
    loading: dict[str, ModelSpec] = field(default_factory=dict)
    unloading: set[str] = field(default_factory=set)

    def used_mb(self, device: str) -> int:
        return sum(each.each_mb for each in self.held.values() if device in each.devices)

    def begin(self, spec: ModelSpec) -> None:
        assert spec.id not in self.loading, f"a second load of {spec.id} on {self.name}"
        known = self.held.get(spec.id)
        assert known is None or known.state is None, f"{spec.id} is on {self.name} already"
        each_mb = -(-spec.vram_mb // spec.min_devices)
        fitting = [device for device in DEVICES[self.name] if self._fits(device, spec, each_mb)]
        assert len(fitting) >= spec.min_devices, f"no room for {spec.id} on {self.name}"
        chosen = tuple(sorted(fitting, key=self.used_mb)[: spec.min_devices])
        self.held[spec.id] = Held(chosen, each_mb, "starting")
        self.loading[spec.id] = spec

    def _fits(self, device: str, spec: ModelSpec, each_mb: int) -> bool:
        tenants = [each for each in self.held.values() if device in each.devices]
        shared = spec.min_devices == 1 and all(len(each.devices) == 1 for each in tenants)
        return (shared or not tenants) and self.used_mb(device) + each_mb <= TOTAL_MB

    def state(self) -> NeuronState:
        devices = tuple(
            DeviceState(id_, "cpu", "A CPU", TOTAL_MB, TOTAL_MB - self.used_mb(id_))
            for id_ in DEVICES[self.name]
        )
        models = tuple(
            ModelState(
                model,
                held.state,
                self.name,
                "tcp://127.0.0.1:7" if held.state == "ready" else "",
                held.devices,
                capacity=4,
            )
            for model, held in self.held.items()
            if held.state is not None
        )
        return NeuronState(self.name, 1, "0.1.0", "host", 1.0, devices, models)


class PlacementModel(RuleBasedStateMachine):
    """Every wish is answered once, and nothing is done that a strict neuron would refuse."""

    machine_type: type[PlacementMachine] = PlacementMachine

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.placement = self.machine_type(Catalogue(models=tuple(ENTRIES.values())))
        self.neurons: dict[str, StrictNeuron] = {}
        self.connections = 0
        self.waiting: dict[int, str] = {}
        self.wishes = 0
        self.leases: set[tuple[str, str]] = set()
        self.operators: dict[str, int] = {}
        for name in DEVICES:
            self.join(name)

    @initialize(
        there=st.sampled_from(
            (
                {},
                {"n1": ("other", "small")},
                {"n1": ("other", "small"), "n2": None},
                {"n1": ("big",), "n2": ("vip",)},
            )
        )
    )
    def begin(self, there: dict[str, tuple[str, ...] | None]) -> None:
        """Begin with these models there; a neuron with None is not."""
        for name, models in there.items():
            if models is None:
                self.lose(name)
                continue
            for model in models:
                held = Held(("d0",), ENTRIES[model].vram_mb, "ready")
                self.neurons[name].held[model] = held
            self.report(name)

    # -- the gateway's side ---------------------------------------------------------------------

    @rule(model=MODELS)
    def want(self, model: str) -> None:
        self.wishes += 1
        self.waiting[self.wishes] = model
        self.carry_out(self.placement.want(model, self.wishes, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(sorted(self.waiting)))
        model = self.waiting.pop(waiter)
        self.carry_out(self.placement.unwanted(model, waiter, self.now))

    @rule(model=MODELS)
    def unload(self, model: str) -> None:
        self.wishes += 1
        self.operators[model] = self.operators.get(model, 0) + 1
        self.carry_out(self.placement.unload(model, self.wishes))

    @rule(model=MODELS)
    def pin(self, model: str) -> None:
        self.placement.pins ^= {model}

    @precondition(lambda self: self._servable())
    @rule(data=st.data())
    def lease(self, data: st.DataObject) -> None:
        model, neuron = data.draw(st.sampled_from(self._servable()))
        self.leases.add((model, neuron))
        self.placement.fleet.in_use(model, neuron, 1, self.now)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        model, neuron = data.draw(st.sampled_from(sorted(self.leases)))
        self.leases.discard((model, neuron))
        self.placement.fleet.in_use(model, neuron, 0, self.now)
        self.carry_out(self.placement.idle(self.now))

    @rule(seconds=st.sampled_from((0.5, 1.0, VERIFY_S)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.placement.tick(self.now))

    # -- the neurons' side ----------------------------------------------------------------------

    @rule(name=NEURONS)
    def report(self, name: str) -> None:
        if name in self.neurons:
            neuron = self.neurons[name]
            self.carry_out(self.placement.reported(neuron.state(), neuron.connection, self.now))

    @rule(name=NEURONS, model=MODELS, well=st.booleans())
    def end_load(self, name: str, model: str, well: bool) -> None:
        neuron = self.neurons.get(name)
        if neuron is None or model not in neuron.loading:
            return
        del neuron.loading[model]
        neuron.held[model].state = "ready" if well else None
        if well:
            self.report(name)
        failure = None if well else Failure(FailureCode.INTERNAL, "it broke")
        self.carry_out(self.placement.load_ended(model, neuron.connection, failure, self.now))

    @rule(name=NEURONS, model=MODELS)
    def end_unload(self, name: str, model: str) -> None:
        neuron = self.neurons.get(name)
        if neuron is None or model not in neuron.unloading or model in neuron.loading:
            return
        neuron.unloading.discard(model)
        if model in neuron.held:
            neuron.held[model].state = None
        self.leases.discard((model, name))
        self.placement.fleet.in_use(model, name, 0, self.now)
        self.carry_out(self.placement.unload_ended(model, neuron.connection, None, self.now))

    @rule(name=NEURONS, model=MODELS)
    def give_memory_back(self, name: str, model: str) -> None:
        neuron = self.neurons.get(name)
        if neuron and model in neuron.held and neuron.held[model].state is None:
            del neuron.held[model]

    @rule(name=NEURONS)
    def lose(self, name: str) -> None:
        neuron = self.neurons.pop(name, None)
        if neuron is not None:
            for model, where in list(self.leases):
                if where == name:
                    self.leases.discard((model, where))
                    self.placement.fleet.in_use(model, where, 0, self.now)
            self.carry_out(self.placement.lost(name, neuron.connection, self.now))

    @rule(name=NEURONS)
    def join(self, name: str) -> None:
        if name not in self.neurons:
            self.connections += 1
            self.neurons[name] = StrictNeuron(name, self.connections)
            self.report(name)

    @rule(model=MODELS)
    def late_answer(self, model: str) -> None:
        stale = self.connections + 100
        self.carry_out(self.placement.load_ended(model, stale, None, self.now))

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def what_is_kept_of_the_fleet_is_true(self) -> None:
        machine, entry = self.placement, ENTRIES["big"]
        kept = machine.survey(entry, self.now)
        fresh = Survey("cost").of(
            machine.fleet,
            machine._wanted(entry),
            lambda model: machine._standing(model, self.now),
        )
        assert kept == fresh

    def carry_out(self, effects: Effects) -> None:
        self._check_victims([each for each in effects if isinstance(each, StartUnload)])
        for effect in effects:
            match effect:
                case StartLoad(neuron, connection, spec):
                    elsewhere = [n.name for n in self.neurons.values() if spec.id in n.loading]
                    assert elsewhere in ([], [neuron]), f"{spec.id} is loading on {elsewhere}"
                    if spec.id not in self.neurons[neuron].loading:
                        assert self.neurons[neuron].connection == connection
                        self.neurons[neuron].begin(spec)
                case StartUnload(neuron, _, model):
                    self.neurons[neuron].unloading.add(model)
                case CancelLoad(neuron, _, model):
                    assert model in self.neurons[neuron].loading
                case Loaded(waiter, model, failure):
                    assert isinstance(waiter, int)
                    assert failure is not None or self._is_ready(model), f"{model} is not ready"
                    assert self.waiting.pop(waiter) == model, f"wish {waiter} is answered twice"
                case Unloaded():
                    pass

    def _check_victims(self, unloads: list[StartUnload]) -> None:
        evictions = [each for each in unloads if not self.operators.get(each.model)]
        for each in evictions:
            assert (each.model, each.neuron) not in self.leases, f"{each.model} is busy"
            assert each.model not in self.placement.pins, f"{each.model} is pinned"
            assert self._wanted_by_peer(each), f"{each.model} is of a higher class"
        for neuron in {each.neuron for each in evictions}:
            self._check_need(neuron, [each.model for each in evictions if each.neuron == neuron])

    def _wanted_by_peer(self, unload: StartUnload) -> bool:
        least = ENTRIES[unload.model].residency_priority
        evicting = self._evicting(unload.neuron)
        return any(ENTRIES[model].residency_priority >= least for model in evicting)

    def _evicting(self, neuron: str) -> list[str]:
        jobs = self.placement.jobs().items()
        return [model for model, (phase, where) in jobs if (phase, where) == (EVICTING, neuron)]

    def _check_need(self, name: str, victims: list[str]) -> None:
        """No one victim could have stayed."""
        neuron = self.neurons[name]
        (model,) = self._evicting(name)
        entry = ENTRIES[model]
        each_mb = -(-entry.vram_mb // entry.min_devices)
        for spared in victims:
            gone = set(victims) - {spared}
            roomy = 0
            for device in DEVICES[name]:
                there = [
                    held
                    for other, held in neuron.held.items()
                    if device in held.devices and other not in gone
                ]
                used = sum(held.each_mb for held in there)
                alone = entry.min_devices > 1 or any(len(held.devices) > 1 for held in there)
                roomy += used + each_mb <= TOTAL_MB and not (alone and there)
            assert roomy < entry.min_devices, f"{spared} need not have gone for {model}"

    def _is_ready(self, model: str) -> bool:
        return any(
            model in neuron.held and neuron.held[model].state == "ready"
            for neuron in self.neurons.values()
        )

    def _servable(self) -> list[tuple[str, str]]:
        return sorted(
            (model.id, neuron.name)
            for neuron in self.placement.fleet.states()
            if neuron.name in self.neurons
            for model in neuron.models
            if model.state == "ready"
        )

    def teardown(self) -> None:
        """Once nothing fails any more, everyone is answered."""
        self.placement.pins.clear()
        for name in DEVICES:
            self.join(name)
        for model, neuron in sorted(self.leases):
            self.placement.fleet.in_use(model, neuron, 0, self.now)
        self.leases.clear()
        for _ in range(12 * len(ENTRIES)):
            self.wait(VERIFY_S)
            for name in DEVICES:
                for model in ENTRIES:
                    self.end_load(name, model, well=True)
                    self.end_unload(name, model)
                    self.give_memory_back(name, model)
                self.report(name)
        assert not self.waiting, f"never answered: {self.waiting}"
