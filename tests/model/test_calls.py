"""No history makes a link deliver an answer to another question, twice, or never; naive ones do."""

from __future__ import annotations

import pytest

from tests.model.call_askers import MUTANTS, RIGHT
from tests.model.call_machine import CallMachine, NewAsker
from tests.model.trials import holds, is_found_out

STEPS = 40


def machine_of(new: NewAsker) -> type[CallMachine]:
    return type("Machine", (CallMachine,), {"new_asker": staticmethod(new)})


@pytest.mark.parametrize("asker", RIGHT)
def test_a_right_end_ends_every_call_once_with_its_own_answer(asker: NewAsker) -> None:
    holds(machine_of(asker), examples=150, steps=STEPS)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_an_end_with_a_known_mistake_is_found_out(mutant: NewAsker) -> None:
    is_found_out(machine_of(mutant), steps=STEPS)
