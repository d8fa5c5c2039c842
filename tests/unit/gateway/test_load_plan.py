"""``cortexd plan load``: what the policy would do, with figures, and nothing done."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.load_plan import plan
from cortex_actors.gateway.placement_effects import StartLoad, StartUnload
from cortex_actors.gateway.placement_machine import PlacementMachine
from transports.schemas.fleet import DeviceState, ModelRecord, ModelState, NeuronState

BIG = CatalogueEntry(id="big", source="file:///big", vram_mb=800)
OLD = CatalogueEntry(id="old", source="file:///old", vram_mb=600)


@pytest.fixture
def machine() -> PlacementMachine:
    """A full neuron with an idle model, and one that is too small."""
    machine = PlacementMachine(Catalogue(models=(BIG, OLD)))
    old = ModelState("old", "ready", "full", "tcp://127.0.0.1:7", ("cuda:0",), memory_mb=600)
    record = ModelRecord("big", cold_load_s=9.0, warm_load_s=2.0, warm=True)
    full = NeuronState(
        *("full", 1, "1", "host", 1.0),
        (DeviceState("cuda:0", "cuda", "A GPU", 1000, 400),),
        (old,),
        records=(record,),
    )
    tiny = NeuronState(
        "tiny", 1, "1", "host", 1.0, (DeviceState("cuda:0", "cuda", "A GPU", 100, 100),), ()
    )
    machine.reported(full, 1, 0.0)
    machine.reported(tiny, 2, 0.0)
    return machine


def test_a_plan_names_victims_seconds_and_memory_before_and_after(
    machine: PlacementMachine,
) -> None:
    found = plan(BIG, machine, 100.0)

    assert (found.model, found.memory_mb, found.chosen, found.loaded_on) == ("big", 800, "full", ())
    full, tiny = found.neurons
    assert (full.verdict, full.load_s, full.warm) == ("evict", 2.0, True)
    assert [(victim.model, victim.memory_mb) for victim in full.victims] == [("old", 600)]
    (device,) = full.devices
    assert (device.before_mb, device.after_mb) == (400, 200)
    assert (tiny.verdict, tiny.victims) == ("never", ())
    assert "needs 1 device(s) of at least 800 MB" in tiny.why


def test_what_is_planned_is_what_is_then_done(machine: PlacementMachine) -> None:
    planned = plan(BIG, machine, 100.0)
    effects = machine.want("big", 1, 100.0)

    (neuron,) = [row for row in planned.neurons if row.neuron == planned.chosen]
    unloads = [each for each in effects if isinstance(each, StartUnload)]
    assert [(each.neuron, each.model) for each in unloads] == [
        (planned.chosen, victim.model) for victim in neuron.victims
    ]
    assert not any(isinstance(each, StartLoad) for each in effects)


def test_a_pinned_model_is_in_no_plan(machine: PlacementMachine) -> None:
    machine.pins.add("old")

    found = plan(BIG, machine, 100.0)
    assert found.chosen == ""
    assert [row.verdict for row in found.neurons] == ["held", "never"]


def test_a_model_that_is_loaded_goes_nowhere(machine: PlacementMachine) -> None:
    found = plan(OLD, machine, 100.0)
    assert (found.loaded_on, found.chosen) == (("full",), "")
