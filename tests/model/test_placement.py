"""Placement satisfies its model; machines with one mistake each do not."""

from __future__ import annotations

import pytest

from cortex_actors.gateway.placement_machine import PlacementMachine
from tests.model.naive_placements import NAIVE
from tests.model.placement_machine import PlacementModel
from tests.model.trials import holds, is_found_out

STEPS = 40


def model_of(machine: type[PlacementMachine]) -> type[PlacementModel]:
    return type(machine.__name__, (PlacementModel,), {"machine_type": machine})


def test_every_wish_is_answered_and_no_neuron_is_asked_for_too_much() -> None:
    holds(PlacementModel, examples=250, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_placement_is_found_out(naive: type[PlacementMachine]) -> None:
    is_found_out(model_of(naive), steps=STEPS)
