"""Placement where models may sleep in a neuron's warm tier."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cortex_actors.gateway.placement_effects import StartLoad, StartUnload, Unloaded, UnloadReason
from tests.unit.gateway.test_placement_machine import entry, placement, ready
from tests.unit.serving.doubles import neuron_state
from transports.failures import FailureCode
from transports.schemas.fleet import ModelRecord, ModelState, NeuronState
from transports.schemas.link import Failure


def warm_neuron(name: str, *models: ModelState, warm_mb: int = 0, **record: Any) -> NeuronState:
    known = ModelRecord("m", cold_load_s=10.0, warm_load_s=1.0, memory_mb=400, **record)
    state = neuron_state(name, *models)
    return msgspec.structs.replace(state, records=(known,), warm_mb=warm_mb)


def test_a_model_goes_to_the_neuron_where_it_sleeps() -> None:
    machine = placement(entry(vram_mb=400))
    machine.reported(warm_neuron("n2", warm=True), 2, 0.0)
    assert machine.want("m", 1, 0.0) == [StartLoad("n2", 2, entry(vram_mb=400).spec())]


def test_without_a_warm_tier_a_victim_costs_a_cold_load_and_with_one_a_wake() -> None:
    machine = placement(entry(), entry("big", vram_mb=900))

    def cost_s(warm_mb: int) -> float:
        state = warm_neuron("n1", ready(), warm_mb=warm_mb, weights_mb=300)
        machine.reported(state, 1, 0.0)
        (found,) = machine.assessments(entry("big", vram_mb=900), 0.0)
        return found.cost_s

    assert cost_s(300) * 10 == pytest.approx(cost_s(299)) == pytest.approx(cost_s(0))


def test_what_an_operator_unloads_is_ended_where_it_sleeps() -> None:
    machine = placement()
    machine.reported(warm_neuron("n1", warm=True), 1, 0.0)

    assert machine.unload("m", "w") == [StartUnload("n1", 1, "m", UnloadReason.OPERATOR)]
    assert machine.unload("m", "v") == []
    ended = machine.unload_ended("m", 1, Failure(FailureCode.MODEL_NOT_FOUND, "gone"), 1.0)
    assert {Unloaded("w", "m", None), Unloaded("v", "m", None)} <= set(ended)
