"""The collector holds I1 to I8 in random histories; collectors with a known mistake do not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from neuron_runtime.step import StepCollector
from tests.model.step_machine import NewCollector, StepMachine
from tests.model.step_mutants import MUTANTS, Honest

SETTINGS = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


# Which histories are drawn depends on what else was imported; a mutant gets many, and needs few.
HUNT = settings(SETTINGS, max_examples=3000)


def try_out(collector: NewCollector, how: settings = SETTINGS) -> None:
    class Machine(StepMachine):
        new_collector = collector

    run_state_machine_as_test(Machine, settings=how)


@pytest.mark.parametrize("collector", [StepCollector, Honest])
def test_a_right_collector_holds_the_invariants(collector: NewCollector) -> None:
    try_out(collector)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_collector_with_a_known_mistake_is_found_out(mutant: NewCollector) -> None:
    with pytest.raises((AssertionError, KeyError)):
        try_out(mutant, HUNT)
