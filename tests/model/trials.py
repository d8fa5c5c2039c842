"""How state machines are run: right implementations hold, ones with a known mistake are found out.

Both draw the same histories every time, so that a verdict is that of the code and not of the day.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

HUNT_EXAMPLES = (30, 300, 3000)
"""Which histories are drawn depends on what else was imported; a mutant gets many, needs few."""


def holds(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Fail if any of ``examples`` histories of at most ``steps`` steps breaks the model."""
    run_state_machine_as_test(machine, settings=_settings(examples, steps))


def is_found_out(
    *machines: type[RuleBasedStateMachine],
    steps: int,
    by: tuple[type[BaseException], ...] = (AssertionError, KeyError),
) -> None:
    """Fail unless some history breaks the model of one of ``machines``."""
    with pytest.raises(by):  # noqa: PT012 - by any of them
        for examples in HUNT_EXAMPLES:
            for machine in machines:
                run_state_machine_as_test(machine, settings=_settings(examples, steps))


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
