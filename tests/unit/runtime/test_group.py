"""One epoch of a group, by example."""

from __future__ import annotations

import pytest

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.group import (
    Broken,
    Group,
    GroupBusy,
    GroupEffect,
    GroupState,
    GroupUnusable,
    SendRequest,
)
from neuron_runtime.outcome import GroupFailure, Member, Ok, RequestFailure
from neuron_runtime.step import Closed, Kill, SendCancel, StepLimits
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.schemas.group import StepDone
from transports.schemas.link import Failure

R0, R1 = MEMBERS = (Member(0, 10, 100), Member(1, 11, 101))
LIMITS = StepLimits(deadline=10.0)


def answer(group: Group, corr: int, *failures: Failure | None) -> tuple[GroupEffect, ...]:
    effects: tuple[GroupEffect, ...] = ()
    for member, failure in zip(MEMBERS, failures or (None, None), strict=True):
        group.sent(member.slot, corr)
        reply = failure or StepDone(corr, member.rank)
        effects += group.answered(member.slot, member.inc, corr, reply, 1.0)
    return effects


def ready() -> Group:
    group = Group(1, MEMBERS)
    group.linked(10)
    group.linked(11)
    group.begin(LIMITS)
    answer(group, 1)
    assert group.state is GroupState.READY
    return group


def outcome(effects: tuple[GroupEffect, ...]) -> object:
    (closed,) = (effect for effect in effects if isinstance(effect, Closed))
    return closed.outcome


def test_the_first_operation_goes_to_each_member_as_its_link_comes_up() -> None:
    group = Group(1, MEMBERS)
    group.linked(11)

    assert group.begin(LIMITS) == (SendRequest(R1),)
    assert group.linked(10) == (SendRequest(R0),)


def test_a_member_that_links_before_the_first_operation_is_sent_nothing_yet() -> None:
    assert Group(1, MEMBERS).linked(10) == ()


def test_a_second_operation_is_refused_while_one_is_open() -> None:
    group = ready()
    group.begin(LIMITS)

    with pytest.raises(GroupBusy, match="epoch 1 has an open operation"):
        group.begin(LIMITS)


def test_a_failed_load_breaks_the_group_even_if_all_ranks_agree() -> None:
    group = Group(1, MEMBERS)
    group.begin(LIMITS)
    unreadable = Failure(FailureCode.LOAD_FAILED, "shard 2 is unreadable")

    effects = answer(group, 1, unreadable, unreadable)

    assert outcome(effects) == RequestFailure(FailureCode.LOAD_FAILED, "shard 2 is unreadable")
    assert effects[-1] == Broken(FailureCode.LOAD_FAILED, "shard 2 is unreadable")
    assert group.state is GroupState.BROKEN


def test_a_request_failure_leaves_a_ready_group_ready() -> None:
    group = ready()
    group.begin(LIMITS)
    too_long = Failure(FailureCode.STEP_FAILED, "too long")

    assert isinstance(outcome(answer(group, 2, too_long, too_long)), RequestFailure)
    assert group.state is GroupState.READY


def test_an_error_from_one_rank_breaks_the_group_and_refuses_what_follows() -> None:
    group = ready()
    group.begin(LIMITS)

    effects = answer(group, 2, Failure(FailureCode.STEP_FAILED, "bad device"), None)

    assert isinstance(outcome(effects), GroupFailure)
    assert effects[-1] == Broken(FailureCode.STEP_FAILED, "rank 0 bad device")
    with pytest.raises(GroupUnusable, match="epoch 1 is broken"):
        group.begin(LIMITS)


def test_a_death_between_operations_breaks_the_group_once() -> None:
    group = ready()

    assert group.died(11, 101, "killed by SIGKILL") == (
        Broken(FailureCode.WORKER_DIED, "rank 1 died (killed by SIGKILL)"),
    )
    assert group.died(10, 100, "killed by SIGKILL") == ()


def test_a_group_that_the_daemon_stops_is_not_broken_by_a_failure() -> None:
    group = ready()
    group.lost(10, 100, "lost its link")  # the engine may see that first

    (broken,) = group.died(11, 101, "fenced: shutdown", stopped=True)

    assert broken == Broken(
        FailureCode.WORKER_DIED,
        "rank 0 lost its link; rank 1 died (fenced: shutdown)",
        ordinary=True,
    )


def test_a_group_in_which_one_member_died_and_the_others_were_stopped_has_failed() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)
    group.died(11, 101, "killed by SIGKILL")

    effects = group.died(10, 100, "fenced: shutdown", stopped=True)

    assert isinstance(effects[-1], Broken)
    assert not effects[-1].ordinary


def test_a_lost_link_between_operations_has_the_member_killed() -> None:
    group = ready()

    assert group.lost(11, 101, "lost its link") == (Kill(R1, ExitKind.SILENT, "lost its link"),)
    assert group.lost(11, 101, "lost its link") == ()
    assert group.state is GroupState.BROKEN
    assert group.died(11, 101, "killed by SIGKILL") == (
        Broken(FailureCode.WORKER_DIED, "rank 1 lost its link (killed by SIGKILL)"),
    )


def test_a_link_lost_after_its_answer_lets_the_step_succeed_and_the_group_stay_broken() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)
    group.answered(11, 101, 2, StepDone(2, 1), 1.0)
    group.lost(11, 101, "lost its link")

    effects = group.answered(10, 100, 2, StepDone(2, 0), 1.0)

    assert isinstance(outcome(effects), Ok)
    with pytest.raises(GroupUnusable, match="epoch 1 is broken"):
        group.begin(LIMITS)


def test_a_link_lost_in_an_operation_closes_it_by_the_death() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)

    assert group.lost(11, 101, "lost its link") == (Kill(R1, ExitKind.SILENT, "lost its link"),)
    assert group.died(11, 101, "gone") == (Kill(R0, ExitKind.FENCED, "after rank 1 died"),)
    closed, broken = group.died(10, 100, "gone")

    assert isinstance(closed, Closed)
    assert isinstance(broken, Broken)


def test_a_death_after_the_result_lets_the_step_succeed_and_breaks_the_group() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)
    group.answered(11, 101, 2, StepDone(2, 1), 1.0)

    assert group.died(11, 101, "killed by SIGKILL") == ()
    assert group.state is GroupState.BROKEN
    effects = group.answered(10, 100, 2, StepDone(2, 0), 1.0)

    assert outcome(effects) == Ok((StepDone(2, 0), StepDone(2, 1)))
    assert effects[-1] == Broken(FailureCode.WORKER_DIED, "rank 1 died (killed by SIGKILL)")


def test_a_member_that_died_after_its_answer_is_named_beside_those_that_died_without() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)
    group.answered(11, 101, 2, StepDone(2, 1), 1.0)
    group.died(11, 101, "killed by SIGKILL")
    effects = group.died(10, 100, "fenced")

    assert effects[-1] == Broken(
        FailureCode.WORKER_DIED, "rank 0 died (fenced); rank 1 died (killed by SIGKILL)"
    )


def test_a_member_that_never_links_is_killed_at_the_start_deadline() -> None:
    group = Group(1, MEMBERS)
    group.begin(LIMITS)

    assert group.wake_at == 10.0
    assert group.tick(10.0) == (SendCancel(R0), SendCancel(R1))
    assert group.unresolved == MEMBERS


def test_only_the_expected_lives_may_link_and_each_only_once() -> None:
    group = Group(1, MEMBERS)
    assert group.refusal(10, 100) is None
    group.linked(10)

    assert group.refusal(10, 100) == "duplicate"
    assert group.refusal(11, 100) == "stale_incarnation"
    assert group.refusal(77, 100) == "unknown_source"
    group.died(11, 101, "gone")
    assert group.refusal(11, 101) == "stale_incarnation"


def test_news_of_strangers_and_of_an_idle_group_change_nothing() -> None:
    group = Group(1, MEMBERS)

    assert group.died(77, 1, "gone") == group.lost(11, 1, "lost its link") == ()
    assert group.tick(1e9) == group.cancel(0.0) == group.stalled(10, 100, "stopped") == ()
    assert group.answered(10, 100, 1, StepDone(1, 0), 0.0) == ()
    assert group.wake_at is None
    assert group.unresolved == ()
    group.sent(10, 1)
    assert group.state is GroupState.STARTING


def test_a_cancelled_operation_cancels_its_members_at_once() -> None:
    group = ready()
    group.begin(LIMITS)

    assert group.cancel(3.0) == (SendCancel(R0), SendCancel(R1))
    assert group.stalled(10, 100, "stopped") == (Kill(R0, ExitKind.STALLED, "stopped"),)


def test_a_late_answer_to_the_previous_operation_is_dropped() -> None:
    group = ready()
    group.begin(LIMITS)
    group.sent(10, 2)
    group.sent(11, 2)

    assert group.answered(11, 101, 1, StepDone(1, 1), 1.0) == ()
    assert group.drops.drops[DropReason.STALE_CORR] == 1
