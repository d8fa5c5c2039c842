from __future__ import annotations

import random
from itertools import islice

import pytest

from neuron_runtime.faults import checked
from tests.soak.faults import ARMED, STALLS, Strike, plan
from tests.soak.oracle import MODEL, Question
from tests.soak.report import dropped, exported
from transports.schemas.group import InjectFault


def strikes(seed: int, *, armed: bool = True, stalls: bool = True) -> list[Strike]:
    bursts = islice(plan(seed, armed=armed, stalls=stalls), 300)
    return [strike for burst in bursts for strike in burst]


def test_a_seed_gives_the_same_plan_again() -> None:
    assert strikes(3) == strikes(3) != strikes(4)


@pytest.mark.parametrize(("armed", "stalls"), [(False, False), (False, True), (True, False)])
def test_faults_that_are_not_to_be_had_are_not_planned(armed: bool, stalls: bool) -> None:
    kinds = {strike.fault.kind for strike in strikes(1, armed=armed, stalls=stalls)}

    assert armed is not kinds.isdisjoint(fault.kind for fault in ARMED)
    assert kinds.isdisjoint(fault.kind for fault in STALLS)


def test_every_armed_fault_is_one_that_ranks_know() -> None:
    for strike in strikes(2):
        if strike.fault.phases:
            checked(InjectFault(**strike.order(MODEL)))


def test_questions_and_their_answers_follow_from_the_seed() -> None:
    first, second = (
        [Question.drawn(random.Random(5), number) for number in range(4)] for _ in range(2)
    )

    assert [q.answer() for q in first] == [q.answer() for q in second]
    assert len({q.answer() for q in first}) == 4
    assert all(len(q.answer().split()) == q.tokens for q in first)


def test_drops_are_counted_by_reason_from_the_logs_of_all_processes() -> None:
    log = [
        "t WARNING engine[7] cortex.links message_dropped link=<Link a> reason=stale_corr",
        "t DEBUG engine[7] cortex.links message_dropped link=<Link a> reason=stale_corr",
        "t DEBUG cortexd[1] cortex.links message_dropped peer=b'x' reason=after_close",
        "t INFO something else reason=other",
    ]

    assert dropped(log) == {"stale_corr": 2, "after_close": 1}


def test_drops_are_counted_by_reason_from_a_daemons_metrics() -> None:
    text = """# TYPE neuron_link_drops counter
neuron_link_drops_total{reason="after_close",role="daemon"} 3.0
neuron_link_drops_total{reason="after_close",role="rank"} 2.0
neuron_link_drops_total{reason="duplicate",role="daemon"} 0.0
neuron_other_total{reason="stale_corr"} 4.0
"""
    assert exported(text) == {"after_close": 5}
