"""The raw frames of rank 0's answer come with the outcome, and nobody else's do."""

from __future__ import annotations

from neuron_runtime.outcome import Member, Ok
from neuron_runtime.step import Closed, StepCollector, StepEffect, StepLimits
from transports.failures import FailureCode
from transports.schemas.body import Body
from transports.schemas.group import EmbedStepDone
from transports.schemas.link import Failure

MEMBERS = (Member(1, 11, 101), Member(0, 10, 100))


def collector() -> StepCollector:
    collector = StepCollector(MEMBERS, StepLimits(deadline=10.0))
    for member in MEMBERS:
        collector.sent(member.slot, 5)
    return collector


def answer(
    to: StepCollector, rank: int, body: Body | Failure, raw: tuple[bytes, ...], corr: int = 5
) -> tuple[StepEffect, ...]:
    return to.answered(10 + rank, 100 + rank, corr, body, 1.0, raw)


def test_the_outcome_carries_the_leaders_frames_whoever_was_last() -> None:
    for last in (0, 1):
        step = collector()
        answer(step, 1 - last, EmbedStepDone(1, 1 - last), (b"%d" % (1 - last),))
        (closed,) = answer(step, last, EmbedStepDone(1, last), (b"%d" % last,))
        assert isinstance(closed, Closed)
        assert closed.outcome == Ok((EmbedStepDone(1, 0), EmbedStepDone(1, 1)), (b"0",))


def test_frames_of_an_answer_that_is_not_accepted_are_dropped_with_it() -> None:
    step = collector()
    assert answer(step, 0, EmbedStepDone(1, 0), (b"stale",), corr=4) == ()
    answer(step, 0, EmbedStepDone(1, 0), (b"right",))
    assert answer(step, 0, EmbedStepDone(1, 0), (b"again",)) == ()
    (closed,) = answer(step, 1, EmbedStepDone(1, 1), ())
    assert isinstance(closed, Closed)
    assert isinstance(closed.outcome, Ok)
    assert closed.outcome.raw == (b"right",)


def test_a_failed_step_has_no_frames() -> None:
    step = collector()
    answer(step, 0, EmbedStepDone(1, 0), (b"rows",))
    (closed,) = answer(step, 1, Failure(FailureCode.STEP_FAILED, "no"), (b"junk",))
    assert isinstance(closed, Closed)
    assert not isinstance(closed.outcome, Ok)
