"""Misbehaving on purpose."""

from __future__ import annotations

import pytest

from neuron_runtime.faults import Faults, Phase, UnknownFault, parse_fault
from transports.schemas.group import InjectFault


def test_nothing_is_armed_by_default() -> None:
    faults = Faults.from_environment({})

    for phase in Phase:
        faults.trip(phase)
    assert not faults.swallows_reply()


def test_a_fault_strikes_in_its_phase_after_the_occasions_it_lets_pass() -> None:
    faults = Faults.from_environment({"CORTEX_FAULT": "oom@inside:after=2:times=1"})

    faults.trip(Phase.BEFORE)
    faults.in_collective()
    faults.in_collective()
    with pytest.raises(MemoryError):
        faults.in_collective()
    faults.in_collective()


def test_replies_are_dropped_as_often_as_armed() -> None:
    faults = Faults.from_environment({"CORTEX_FAULT": "drop-replies@replied:times=2"})
    faults.trip(Phase.REPLIED)

    assert [faults.swallows_reply() for _ in range(3)] == [True, True, False]


def test_several_faults_can_be_armed_at_spawn() -> None:
    faults = Faults.from_environment({"CORTEX_FAULT": "slow-step@before:seconds=0,oom@starting,"})

    faults.trip(Phase.BEFORE)
    with pytest.raises(MemoryError):
        faults.trip(Phase.STARTING)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("explode@inside", "there are: kill-rank, stop-rank"),
        ("oom@lunch", "there are: starting, idle"),
        ("oom@inside:often=1", "unknown option often"),
        ("oom@inside:after=soon", "invalid literal"),
    ],
)
def test_an_unknown_fault_is_refused_with_the_list(text: str, complaint: str) -> None:
    with pytest.raises(UnknownFault, match=complaint):
        parse_fault(text)


def test_an_unknown_fault_in_a_note_is_refused_too() -> None:
    with pytest.raises(UnknownFault):
        Faults().arm(InjectFault(fault="explode", phase="inside"))
