"""The collector holds I1 to I8 in random histories; collectors with a known mistake do not."""

from __future__ import annotations

import pytest

from neuron_runtime.step import StepCollector
from tests.model.step_machine import StepMachine
from tests.model.step_mutants import MUTANTS, Honest
from tests.model.step_world import NewCollector
from tests.model.trials import holds, is_found_out

STEPS = 40


def machine_of(new: NewCollector) -> type[StepMachine]:
    return type("Machine", (StepMachine,), {"new_collector": staticmethod(new)})


@pytest.mark.parametrize("collector", [StepCollector, Honest])
def test_a_right_collector_holds_the_invariants(collector: NewCollector) -> None:
    holds(machine_of(collector), examples=300, steps=STEPS)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_collector_with_a_known_mistake_is_found_out(mutant: NewCollector) -> None:
    is_found_out(machine_of(mutant), steps=STEPS)
