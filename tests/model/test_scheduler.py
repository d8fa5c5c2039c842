"""The scheduler satisfies its model; schedulers with one mistake each do not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from neuron_runtime.engine.scheduler import Scheduler
from tests.model.naive_schedulers import NAIVE
from tests.model.scheduler_machine import SchedulerMachine

THOROUGH = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(
    THOROUGH, max_examples=3000, phases=[Phase.generate], derandomize=True, database=None
)


def machine_of(scheduler: type[Scheduler]) -> type[SchedulerMachine]:
    return type(scheduler.__name__, (SchedulerMachine,), {"scheduler_type": scheduler})


def test_every_sequence_ends_once_with_the_right_tokens() -> None:
    run_state_machine_as_test(SchedulerMachine, settings=THOROUGH)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_scheduler_is_found_out(naive: type[Scheduler]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine_of(naive), settings=QUICK)
