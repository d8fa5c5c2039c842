"""Collecting the answers of one operation, by example; the model test has the invariants."""

from __future__ import annotations

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.outcome import GroupFailure, Member, Ok, RankFailure, RequestFailure
from neuron_runtime.step import Closed, Kill, SendCancel, StepCollector, StepEffect, StepLimits
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.schemas.group import StepDone
from transports.schemas.link import Failure

R0, R1, R2 = MEMBERS = (Member(0, 10, 100), Member(1, 11, 101), Member(2, 12, 102))
OUT_OF_BLOCKS = Failure(FailureCode.STEP_FAILED, "no cache blocks left")


def opened(
    deadline: float = 10.0, error_grace_s: float = 2.0, round_s: float = 0.0
) -> StepCollector:
    limits = StepLimits(deadline, error_grace_s=error_grace_s, round_s=round_s)
    collector = StepCollector(MEMBERS, limits)
    for member in MEMBERS:
        collector.sent(member.slot, 5)
    return collector


def done(collector: StepCollector, member: Member, now: float = 1.0) -> tuple[StepEffect, ...]:
    return collector.answered(member.slot, member.inc, 5, StepDone(1, member.rank), now)


def fail(
    collector: StepCollector, member: Member, failure: Failure = OUT_OF_BLOCKS, now: float = 1.0
) -> tuple[StepEffect, ...]:
    return collector.answered(member.slot, member.inc, 5, failure, now)


def die(collector: StepCollector, member: Member) -> tuple[StepEffect, ...]:
    return collector.died(member.slot, member.inc, "killed by SIGKILL")


def failed(member: Member, message: str = "no cache blocks left") -> RankFailure:
    return RankFailure(member, FailureCode.STEP_FAILED, message)


def test_results_come_in_rank_order_whatever_order_they_were_read_in() -> None:
    collector = opened()

    assert done(collector, R2) == done(collector, R0) == ()
    assert done(collector, R1) == (Closed(Ok(tuple(StepDone(1, rank) for rank in range(3)))),)
    assert collector.closed
    assert collector.wake_at is None


def test_the_leaders_error_is_remembered_until_the_others_have_answered() -> None:
    collector = opened()

    assert fail(collector, R0) == ()
    assert done(collector, R1) == ()
    assert done(collector, R2) == (Closed(GroupFailure((failed(R0),))),)


def test_the_same_error_from_all_ranks_fails_the_request_only() -> None:
    collector = opened()
    fail(collector, R0)
    fail(collector, R1)

    assert fail(collector, R2) == (
        Closed(RequestFailure(FailureCode.STEP_FAILED, "no cache blocks left")),
    )


def test_different_errors_from_all_ranks_break_the_group_and_are_all_named() -> None:
    collector = opened()
    fail(collector, R0)
    fail(collector, R1, Failure(FailureCode.INTERNAL, "lost its device"))
    (closed,) = fail(collector, R2)

    assert isinstance(closed, Closed)
    assert isinstance(closed.outcome, GroupFailure)
    assert closed.outcome.message == (
        "rank 0 no cache blocks left; rank 1 lost its device; rank 2 no cache blocks left"
    )


def test_a_death_fences_the_others_and_their_deaths_close_the_step() -> None:
    collector = opened()
    done(collector, R0)

    assert die(collector, R1) == (Kill(R2, ExitKind.FENCED, "after rank 1 died"),)
    assert collector.wake_at is None
    (closed,) = die(collector, R2)

    assert isinstance(closed, Closed)
    assert isinstance(closed.outcome, GroupFailure)
    assert closed.outcome.code == FailureCode.WORKER_DIED
    assert [failure.member for failure in closed.outcome.failures] == [R1, R2]
    assert [failure.fenced for failure in closed.outcome.failures] == [False, True]


def test_a_result_that_was_read_before_the_death_stands() -> None:
    collector = opened()
    done(collector, R0)
    done(collector, R1)

    assert die(collector, R1) == ()
    assert done(collector, R2) == (Closed(Ok(tuple(StepDone(1, rank) for rank in range(3)))),)


def test_a_result_that_is_read_after_the_kill_and_before_the_death_stands() -> None:
    collector = opened(deadline=10.0)
    done(collector, R0)
    done(collector, R1)
    collector.tick(10.0)
    assert collector.tick(10.5) == (Kill(R2, ExitKind.STALLED, "did not answer"),)

    assert done(collector, R2) == (Closed(Ok(tuple(StepDone(1, rank) for rank in range(3)))),)


def test_a_deadline_cancels_then_kills_and_only_the_death_ends_the_step() -> None:
    collector = opened(deadline=10.0)
    done(collector, R0)
    done(collector, R2)

    assert collector.tick(9.9) == ()
    assert collector.tick(10.0) == (SendCancel(R1),)
    assert collector.wake_at == 10.5
    assert collector.tick(10.4) == ()
    assert collector.tick(10.5) == (Kill(R1, ExitKind.STALLED, "did not answer"),)
    assert not collector.closed
    assert collector.tick(99.0) == ()
    (closed,) = die(collector, R1)

    assert isinstance(closed, Closed)
    assert isinstance(closed.outcome, GroupFailure)
    assert closed.outcome.code == FailureCode.DEADLINE_EXCEEDED
    assert closed.outcome.message == (
        "rank 1 was killed as stalled, did not answer (killed by SIGKILL)"
    )


def test_a_late_tick_still_gives_the_whole_grace() -> None:
    collector = opened(deadline=10.0)

    assert collector.tick(30.0) == tuple(SendCancel(member) for member in MEMBERS)
    assert collector.wake_at == 30.5


def test_after_an_error_the_others_get_no_more_than_the_error_grace() -> None:
    collector = opened(deadline=600.0, error_grace_s=2.0)
    fail(collector, R1, now=100.0)

    assert collector.wake_at == 102.0
    assert collector.tick(102.0) == (SendCancel(R0), SendCancel(R2))


def test_who_has_waited_in_vain_for_a_failed_rank_is_named_and_is_not_the_cause() -> None:
    collector = opened(deadline=600.0, error_grace_s=2.0)
    fail(collector, R1, Failure(FailureCode.SOURCE_CORRUPT, "its shard is damaged"), now=100.0)
    collector.tick(102.0)
    kills = collector.tick(102.5)
    # Its stacks are wanted all the same.
    assert kills == tuple(Kill(each, ExitKind.STALLED, "did not answer") for each in (R0, R2))
    die(collector, R0)
    (closed,) = die(collector, R2)

    assert isinstance(closed, Closed)
    assert isinstance(closed.outcome, GroupFailure)
    assert closed.outcome.code == FailureCode.SOURCE_CORRUPT
    assert closed.outcome.message == (
        "rank 0 was killed as stalled, did not answer (killed by SIGKILL);"
        " rank 1 its shard is damaged;"
        " rank 2 was killed as stalled, did not answer (killed by SIGKILL)"
    )


def test_rounds_get_more_time_only_while_there_is_some() -> None:
    collector = opened(deadline=10.0, round_s=20.0)

    assert collector.progressed(11, 101, 5, 9.0)
    assert collector.wake_at == 29.0
    collector.tick(29.0)
    assert collector.progressed(11, 101, 5, 29.25)
    assert collector.wake_at == 29.5


def test_an_operators_cancel_is_a_deadline_that_has_come() -> None:
    collector = opened(deadline=600.0)
    collector.cancel(3.0)

    assert collector.tick(3.0) == tuple(SendCancel(member) for member in MEMBERS)


def test_a_lost_link_kills_the_member_once_and_waits_for_its_death() -> None:
    collector = opened()

    assert collector.lost(11, 101, "lost its link") == (Kill(R1, ExitKind.SILENT, "lost its link"),)
    assert collector.lost(11, 101, "lost its link") == ()
    assert not collector.closed


def test_a_stopped_member_is_killed_as_stalled() -> None:
    collector = opened()

    assert collector.stalled(11, 101, "stopped") == (Kill(R1, ExitKind.STALLED, "stopped"),)
    assert collector.stalled(11, 999, "stopped") == ()


def test_news_of_another_life_of_the_slot_are_ignored() -> None:
    collector = opened()

    assert collector.died(11, 99, "killed by SIGKILL") == ()
    assert collector.lost(77, 1, "lost its link") == ()
    assert collector.unresolved == MEMBERS


def test_what_the_fence_refuses_is_counted_and_touches_nothing() -> None:
    collector = opened()
    drops = collector.drops.drops
    done(collector, R0)

    assert done(collector, R0) == ()
    assert collector.answered(10, 100, 4, StepDone(1, 0), 1.0) == ()
    assert collector.answered(11, 100, 5, StepDone(1, 1), 1.0) == ()
    assert collector.answered(77, 100, 5, StepDone(1, 1), 1.0) == ()
    assert collector.unresolved == (R1, R2)
    assert {reason: count for reason, count in drops.items() if count} == {
        DropReason.DUPLICATE: 1,
        DropReason.STALE_CORR: 1,
        DropReason.STALE_INCARNATION: 1,
        DropReason.UNKNOWN_SOURCE: 1,
    }


def test_a_round_that_the_fence_refuses_is_counted_and_gets_no_time() -> None:
    collector = opened(deadline=10.0, round_s=20.0)
    drops = collector.drops.drops

    assert not collector.progressed(11, 101, 4, 1.0)
    assert not collector.progressed(77, 101, 5, 1.0)
    assert not collector.progressed(0, 0, 0, 1.0)
    assert collector.wake_at == 10.0
    assert drops[DropReason.STALE_CORR] == 1
    assert drops[DropReason.UNKNOWN_SOURCE] == 2


def test_an_answer_to_a_question_not_yet_asked_is_a_violation() -> None:
    collector = opened()

    (kill,) = collector.answered(11, 101, 6, StepDone(1, 1), 1.0)

    assert kill == Kill(R1, ExitKind.PROTOCOL, "answered request 6 of the future")
    assert collector.answered(11, 101, 6, StepDone(1, 1), 1.0) == ()


def test_an_answer_after_the_close_is_dropped() -> None:
    collector = opened()
    for member in MEMBERS:
        done(collector, member)

    assert done(collector, R1) == ()
    assert collector.drops.drops[DropReason.AFTER_CLOSE] == 1
