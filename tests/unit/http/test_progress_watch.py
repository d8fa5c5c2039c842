from __future__ import annotations

import pytest

from cortex_actors.http.generation_flow import CancelCall, Emit, GenerationFlow, Phase, Settle
from cortex_actors.http.progress_watch import Deadlines, ProgressWatch
from transports.schemas.fleet import Lease
from transports.schemas.generate import TextDelta
from transports.schemas.link import Failure

DEADLINES = Deadlines(lease_s=10.0, first_token_s=20.0, stall_s=5.0)


def leased_flow() -> GenerationFlow:
    flow = GenerationFlow("tiny", 0.0, resumable=True, deadlines=DEADLINES)
    flow.leased(Lease(1, "tiny", "local", "tcp://x"), 1.0)
    return flow


def test_each_wait_has_a_limit_of_its_own() -> None:
    watch = ProgressWatch(DEADLINES, 100.0)
    assert watch.overdue_s(112.0) == 2.0
    watch.engine_asked(109.0)
    assert watch.overdue_s(130.0) == 1.0
    assert watch.failure().message == "the model's engine did not begin to answer within 20 s"
    watch.progressed(120.0)
    assert watch.overdue_s(125.0) == 0.0
    assert watch.failure().message == "the model's engine made no progress for 5 s"
    assert watch.failure().code == "deadline_exceeded"


def test_a_stream_that_goes_on_is_never_cut_by_the_clock() -> None:
    flow = leased_flow()
    for index in range(10_000):
        now = 20.0 + 4.9 * index
        assert flow.give_up(now) == ()
        assert flow.piece(TextDelta("x", index, (index,)), now)
    assert flow.phase is Phase.GENERATING


@pytest.mark.parametrize(("begun", "late"), [(False, 21.1), (True, 7.1)])
def test_a_stall_ends_it_at_once_whatever_its_engine_still_says(begun: bool, late: float) -> None:
    flow = leased_flow()
    if begun:
        flow.piece(TextDelta("x", 0, (1,)), 2.0)
    assert flow.give_up(late - 0.2) == ()
    told, cancelled, settled = flow.give_up(late)
    assert isinstance(told, Emit)
    assert isinstance(told.event, Failure)
    assert cancelled == CancelCall("deadline_exceeded")
    assert isinstance(settled, Settle)
    assert settled.settled.outcome == "deadline_exceeded"
    assert settled.settled.completion_tokens == int(begun)
    assert flow.phase is Phase.ENDED
    assert flow.piece(TextDelta("x", int(begun), (2,)), late) == ()
    assert flow.failed(Failure("cancelled", "late"), late) == ()
    assert flow.give_up(late + 100.0) == ()


def test_an_engine_that_goes_on_for_another_has_time_for_its_first_token() -> None:
    flow = leased_flow()
    flow.piece(TextDelta("x", 0, (1,)), 2.0)
    flow.lost("silent", "", 3.0)
    assert flow.give_up(1000.0) == (), "the wait for a lease ends with its own call"
    flow.leased(Lease(2, "tiny", "other", "tcp://y"), 10.0)
    assert flow.give_up(29.0) == ()
    assert flow.give_up(30.1)
