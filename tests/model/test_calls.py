"""No history makes a link deliver an answer to another question, twice, or never; naive ones do."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.call_askers import MUTANTS, RIGHT
from tests.model.call_machine import CallMachine, NewAsker

SETTINGS = settings(
    max_examples=150,
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


def try_out(asker: NewAsker, how: settings = SETTINGS) -> None:
    class Machine(CallMachine):
        new_asker = asker

    run_state_machine_as_test(Machine, settings=how)


@pytest.mark.parametrize("asker", RIGHT)
def test_a_right_end_ends_every_call_once_with_its_own_answer(asker: NewAsker) -> None:
    try_out(asker)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_an_end_with_a_known_mistake_is_found_out(mutant: NewAsker) -> None:
    with pytest.raises((AssertionError, KeyError)):
        try_out(mutant, HUNT)
