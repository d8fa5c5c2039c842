"""Groups that come and go under a living engine."""

from __future__ import annotations

import pytest

from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.group import GroupState
from neuron_runtime.outcome import Ok
from tests.unit.engine.engine_bench import ENGINE, GREEDY, Answer, EngineBench
from transports.failures import FailureCode
from transports.schemas.daemon import (
    EngineReady,
    GroupBroken,
    GroupReady,
    GroupStart,
    KillMember,
    MemberDown,
)
from transports.schemas.generate import SamplingOptions
from transports.schemas.group import InjectFault, SampleParams
from transports.schemas.link import Ping

SEEDED = SamplingOptions(temperature=0.9, max_tokens=8, seed=5)


def interrupted(bench: EngineBench, sampling: SamplingOptions, after: int) -> Answer:
    """Run a request, kill its group after some steps, start another."""
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client, sampling=sampling)
    for _ in range(after):
        bench.step()
    group.die()
    bench.settle()
    return answer


def test_the_daemon_learns_where_the_engine_listens(bench: EngineBench) -> None:
    assert bench.daemon.told(EngineReady) == [EngineReady(ENGINE)]


def test_a_group_is_loaded_and_reported(bench: EngineBench) -> None:
    bench.network.advance(5.0)
    group = bench.start_group(world=2)

    assert [(shard.rank, shard.world_size) for shard in group.shards] == [(0, 2), (1, 2)]
    (ready,) = bench.daemon.told(GroupReady)
    assert (ready.epoch, ready.load_s) == (1, 0.0)


@pytest.mark.parametrize("after", [0, 1, 4, 7])
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_stream_goes_on_as_if_its_group_had_not_died(
    bench: EngineBench, sampling: SamplingOptions, after: int
) -> None:
    answer = interrupted(bench, sampling, after)
    assert len(answer.deltas) == after
    assert [broken.epoch for broken in bench.daemon.told(GroupBroken)] == [1]
    bench.start_group()

    sample = SampleParams(0.9, 1.0, 0, 5) if sampling is SEEDED else None
    assert answer.text == bench.right_text(8, sample=sample)
    assert answer.done.completion_tokens == 8


def test_a_request_seen_in_two_deaths_is_refused_and_the_next_is_right(bench: EngineBench) -> None:
    poisoned = interrupted(bench, GREEDY, 2)
    bench.hold = True
    bench.start_group().die()
    bench.settle()
    assert poisoned.failure.code == FailureCode.POISONED_REQUEST

    bench.hold = False
    bench.start_group()
    client, _ = bench.client()
    assert bench.ask(client, "good").text == bench.right_text(8, "good")


def test_an_outcome_of_an_old_epoch_changes_nothing(bench: EngineBench) -> None:
    old = bench.start_group()
    old.hold = True
    client, _ = bench.client()
    answer = bench.ask(client)
    _, closed = old._open or (None, None)
    assert closed is not None
    bench.start_group()
    closed(Ok(()))
    old._on_broken("worker_died", "late")
    bench.settle()

    assert old.closed
    assert answer.text == bench.right_text(8)
    assert bench.daemon.told(GroupBroken) == []


def test_a_load_of_an_old_epoch_that_ends_late_readies_nobody(bench: EngineBench) -> None:
    old = bench.start_group()
    bench.start_group()
    old.tell_loaded()
    bench.settle()

    assert [ready.epoch for ready in bench.daemon.told(GroupReady)] == [1, 2]


def test_a_group_that_is_told_broken_twice_breaks_once(bench: EngineBench) -> None:
    group = bench.start_group()
    group.die()
    group.die()
    bench.settle()

    assert [broken.epoch for broken in bench.daemon.told(GroupBroken)] == [1]


def test_a_group_that_breaks_after_its_answer_gets_no_step(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client)
    steps = len(group.steps)
    group.state = GroupState.BROKEN
    group.answer()
    bench.settle()
    assert len(group.steps) == steps
    group.die()
    bench.settle()
    bench.start_group()
    assert answer.text == bench.right_text(8)


def test_a_group_that_cannot_be_listened_for_is_reported_broken(bench: EngineBench) -> None:
    bench.cannot_listen = True
    bench.order(GroupStart(4, "inproc://x", (), "", 1.0))

    (broken,) = bench.daemon.told(GroupBroken)
    assert (broken.epoch, broken.message) == (4, "in use")


def test_a_kill_is_asked_of_the_daemon_and_a_death_told_to_the_group(bench: EngineBench) -> None:
    group = bench.start_group()
    group.request_kill(10, 101, "stalled")
    bench.settle()
    down = MemberDown(1, 10, 101, "killed")
    bench.order(down)
    fault = InjectFault("slow-step", "before")
    bench.order(fault)
    bench.order(Ping(1))

    assert bench.daemon.told(KillMember) == [KillMember(1, 10, 101, "stalled")]
    assert group.downs == [down]
    assert group.faults == [fault]


def test_a_fault_while_starting_is_kept_for_the_next_epoch_and_used_once(
    bench: EngineBench,
) -> None:
    fault = InjectFault("kill-rank", "starting")
    bench.order(InjectFault("oom", "starting"))
    bench.order(fault)
    bench.order(InjectFault("oom", "starting", rank=1))
    first = bench.start_group()
    bench.order(fault)
    second = bench.start_group()

    assert first.faults == [fault, InjectFault("oom", "starting", rank=1)]
    assert second.faults == [fault]
    assert bench.start_group().faults == []


def test_what_a_daemon_may_not_ask_is_refused(bench: EngineBench) -> None:
    refused = bench.ask_body(bench.daemon, Ping(1)).failure

    assert refused.code == FailureCode.INVALID_REQUEST


def test_without_a_group_news_of_members_change_nothing(bench: EngineBench) -> None:
    bench.order(MemberDown(1, 10, 101, "killed"))
    bench.order(InjectFault("slow-step", "before"))

    assert bench.groups == []


def test_an_engine_that_loses_its_daemon_leaves(bench: EngineBench) -> None:
    bench.network.sever(bench.me)
    bench.settle()

    assert bench.exits == [ExitCode.LINK_LOST]


def test_an_engine_that_is_dismissed_leaves_in_peace(bench: EngineBench) -> None:
    assert bench.daemon.link is not None
    bench.daemon.link.close("shutdown")
    bench.settle()

    assert bench.exits == [ExitCode.OK]
