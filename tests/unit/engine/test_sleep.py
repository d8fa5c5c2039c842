"""Groups that sleep and wake under a living engine."""

from __future__ import annotations

import pytest

from neuron_runtime.outcome import Ok, Outcome, RequestFailure
from tests.unit.engine.engine_bench import EngineBench
from transports.failures import FailureCode
from transports.schemas.daemon import (
    GroupAsleep,
    GroupBroken,
    GroupReady,
    SleepGroup,
    WakeGroup,
)
from transports.schemas.group import ShardAsleep, SleepShard, WakeShard
from transports.schemas.link import Drain

SLEEP, WAKE = SleepGroup(1, 5.0), WakeGroup(1, 5.0)
GRACE_S = 5.0
REFUSED = RequestFailure("out_of_memory", "no room")


def drain(bench: EngineBench) -> None:
    bench.ask_body(bench.daemon, Drain(GRACE_S))


def fall_asleep(bench: EngineBench) -> None:
    bench.start_group()
    drain(bench)
    bench.order(SLEEP)
    assert bench.daemon.told(GroupAsleep) == [GroupAsleep(1)]


def test_a_group_that_slept_serves_with_empty_caches_and_the_same_text(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    first = bench.ask(client)
    for _ in range(2):
        drain(bench)
        bench.order(SLEEP)
        bench.order(WAKE)
        answer = bench.ask(client)
        assert answer.text == first.text == bench.right_text(8)
        assert answer.done.cached_tokens == 0

    assert bench.group.rests == [SleepShard(), WakeShard()] * 2
    assert [ready.epoch for ready in bench.daemon.told(GroupReady)] == [1, 1, 1]
    assert bench.daemon.told(GroupBroken) == []


def test_what_comes_while_it_sleeps_is_refused_as_when_it_is_unloaded(bench: EngineBench) -> None:
    fall_asleep(bench)
    client, _ = bench.client()

    assert bench.ask(client).failure.code == FailureCode.SHUTTING_DOWN
    assert bench.group.steps == []


def test_the_end_of_an_old_drain_does_not_end_what_runs_after_the_wake(bench: EngineBench) -> None:
    fall_asleep(bench)
    bench.order(WAKE)
    bench.group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client)
    bench.network.advance(GRACE_S + 1.0)
    bench.settle()
    bench.group.hold = False
    bench.step()

    assert answer.text == bench.right_text(8)


def test_it_sleeps_when_the_open_step_has_closed_and_never_beside_it(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client)
    bench.order(SLEEP)
    assert group.rests == []
    bench.step()
    assert group.rests == [SleepShard()]
    bench.step()

    assert bench.daemon.told(GroupAsleep) == [GroupAsleep(1)]
    assert answer.ends == []
    group.hold = False
    bench.order(WAKE)
    assert answer.text == bench.right_text(8)


def test_orders_for_another_epoch_or_for_what_is_so_already_change_nothing(
    bench: EngineBench,
) -> None:
    bench.order(SLEEP)
    bench.order(WAKE)
    bench.start_group()
    bench.order(SleepGroup(7, 5.0))
    bench.order(WAKE)
    assert bench.group.rests == []
    bench.order(SLEEP)
    bench.order(SLEEP)
    bench.order(WakeGroup(7, 5.0))

    assert bench.group.rests == [SleepShard()]


def test_a_stale_outcome_wakes_nobody(bench: EngineBench) -> None:
    fall_asleep(bench)
    old = bench.group
    old.hold = True
    bench.order(WAKE)
    _, closed = old._open or (None, None)
    assert closed is not None
    bench.start_group()
    ready = len(bench.daemon.told(GroupReady))
    closed(Ok(()))
    bench.settle()

    assert len(bench.daemon.told(GroupReady)) == ready
    assert bench.daemon.told(GroupBroken) == []


def test_an_old_epoch_that_falls_asleep_late_is_not_told_asleep(bench: EngineBench) -> None:
    old = bench.start_group()
    old.hold = True
    bench.order(SLEEP)
    _, closed = old._open or (None, None)
    assert closed is not None
    bench.start_group()
    closed(Ok(()))
    bench.settle()

    assert bench.daemon.told(GroupAsleep) == []


def test_a_wake_that_is_asked_for_twice_is_one(bench: EngineBench) -> None:
    fall_asleep(bench)
    bench.group.hold = True
    bench.order(WAKE)
    bench.order(WAKE)
    bench.step()

    assert bench.group.rests == [SleepShard(), WakeShard()]
    assert len(bench.daemon.told(GroupReady)) == 2


@pytest.mark.parametrize("order", [SLEEP, WAKE], ids=["asleep", "awake"])
def test_ranks_that_all_fail_at_it_are_replaced(
    bench: EngineBench, order: SleepGroup | WakeGroup
) -> None:
    if order is WAKE:
        fall_asleep(bench)
    else:
        bench.start_group()
    old = bench.group
    old.hold = True
    bench.order(order)
    old.answer_with(REFUSED)
    bench.settle()

    assert bench.daemon.told(GroupBroken) == [GroupBroken(1, "out_of_memory", "no room")]
    assert old.closed
    bench.start_group()
    client, _ = bench.client()
    assert bench.ask(client).text == bench.right_text(8)


def test_a_sleeper_that_dies_is_told_and_its_successor_serves(bench: EngineBench) -> None:
    fall_asleep(bench)
    bench.group.die()
    bench.settle()
    assert [broken.epoch for broken in bench.daemon.told(GroupBroken)] == [1]
    bench.order(WAKE)
    bench.start_group()

    client, _ = bench.client()
    assert bench.ask(client).text == bench.right_text(8)


def test_what_the_ranks_could_not_give_back_is_summed(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    bench.order(SLEEP)
    outcome: Outcome = Ok((ShardAsleep(0, 5), ShardAsleep(1, 7)))
    group.answer_with(outcome)
    bench.settle()

    assert bench.daemon.told(GroupAsleep) == [GroupAsleep(1, 12)]
