"""The lease table satisfies its model; tables with one mistake each do not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cortex_actors.serving.lease_table import LeaseTable, holder_of
from tests.model.lease_machine import LeaseMachine
from tests.model.naive_leases import NAIVE
from tests.unit.serving.doubles import FakeLink

THOROUGH = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(
    THOROUGH, max_examples=3000, phases=[Phase.generate], derandomize=True, database=None
)


def machine_of(table: type[LeaseTable]) -> type[LeaseMachine]:
    return type(table.__name__, (LeaseMachine,), {"table_type": table})


def test_every_lease_ends_once() -> None:
    run_state_machine_as_test(LeaseMachine, settings=THOROUGH)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_table_is_found_out(naive: type[LeaseTable]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine_of(naive), settings=QUICK)


def test_two_processes_with_the_same_incarnation_are_two_holders() -> None:
    assert holder_of(FakeLink(boot=1, inc=1)) != holder_of(FakeLink(boot=2, inc=1))
