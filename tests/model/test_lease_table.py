"""The lease table satisfies its model; tables with one mistake each do not."""

from __future__ import annotations

import pytest

from cortex_actors.serving.lease_table import LeaseTable, holder_of
from tests.model.lease_machine import LeaseMachine
from tests.model.naive_leases import NAIVE
from tests.model.trials import holds, is_found_out
from tests.unit.serving.doubles import FakeLink

STEPS = 30


def machine_of(table: type[LeaseTable]) -> type[LeaseMachine]:
    return type(table.__name__, (LeaseMachine,), {"table_type": table})


def test_every_lease_ends_once() -> None:
    holds(LeaseMachine, examples=300, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_table_is_found_out(naive: type[LeaseTable]) -> None:
    is_found_out(machine_of(naive), steps=STEPS, by=(AssertionError,))


def test_two_processes_with_the_same_incarnation_are_two_holders() -> None:
    assert holder_of(FakeLink(boot=1, inc=1)) != holder_of(FakeLink(boot=2, inc=1))
