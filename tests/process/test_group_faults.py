"""Real ranks that are killed, stopped or fail, at every phase; then the next group is right."""

from __future__ import annotations

import queue

import pytest

from neuron_runtime.group import GroupState
from neuron_runtime.outcome import GroupFailure, Ok, Outcome, RequestFailure
from neuron_runtime.stopped import process_state
from tests.process.neuron import WAIT_S, Epoch, Neuron
from tests.process.steps import answer_to, cleared, one_token_step
from transports.failures import FailureCode
from transports.schemas.group import ClearCache, InjectFault

pytestmark = pytest.mark.process

KILL, STOP, OOM = "kill-rank", "stop-rank", "oom"
FAULTS = pytest.mark.parametrize("fault", [KILL, STOP, OOM])
RANKS = pytest.mark.parametrize("rank", [0, 1])
CAUSES = {KILL: "killed by SIGKILL", STOP: "did not answer", OOM: "MemoryError"}
DEADLINE_S = 0.4


def assert_blames(outcome: Outcome, rank: int, cause: str) -> None:
    """The failure names the rank that was disturbed, and what was done to it."""
    assert isinstance(outcome, GroupFailure)
    (failure,) = (f for f in outcome.failures if f.member.rank == rank)
    assert cause in failure.message
    assert not failure.fenced


def assert_replaced(neuron: Neuron, broken: Epoch, outcomes: queue.SimpleQueue[Outcome]) -> None:
    """One terminal event, one death per rank, no process, and a successor that is right."""
    assert broken.broken.wait(WAIT_S)
    broken.end()
    assert outcomes.empty()
    assert sorted(broken.exits.get(timeout=WAIT_S).slot for _ in broken.handles) == [1, 2]
    assert broken.exits.empty()
    assert not any(process_state(handle.pid) for handle in broken.handles)
    successor = neuron.ready_group()
    assert successor.execute(one_token_step(2)) == answer_to(2)
    successor.end()


@FAULTS
@RANKS
def test_while_starting(neuron: Neuron, fault: str, rank: int) -> None:
    epoch = Epoch(neuron, 2, {rank: f"{fault}@starting"}, start_s=1.5)
    outcomes = epoch.load_later()

    assert_blames(outcomes.get(timeout=WAIT_S), rank, CAUSES[fault])
    assert_replaced(neuron, epoch, outcomes)


@FAULTS
@RANKS
@pytest.mark.parametrize("phase", ["before", "inside"])
def test_in_a_step(neuron: Neuron, fault: str, rank: int, phase: str) -> None:
    epoch = neuron.ready_group(env={rank: f"{fault}@{phase}:after=1"})
    assert epoch.execute(one_token_step(0)) == answer_to(0)
    outcomes = epoch.execute_later(one_token_step(1), DEADLINE_S)

    assert_blames(outcomes.get(timeout=WAIT_S), rank, CAUSES[fault])
    assert_replaced(neuron, epoch, outcomes)


@FAULTS
@RANKS
def test_while_idle(neuron: Neuron, fault: str, rank: int) -> None:
    epoch = neuron.ready_group()
    assert epoch.execute(one_token_step(0)) == answer_to(0)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    epoch.inject(InjectFault(fault=fault, phase="idle", rank=rank))
    if fault == STOP:
        outcomes = epoch.execute_later(one_token_step(1), DEADLINE_S)
        assert_blames(outcomes.get(timeout=WAIT_S), rank, CAUSES[fault])

    assert_replaced(neuron, epoch, outcomes)
    assert f"rank {rank}" in epoch.broken_message


@FAULTS
@RANKS
def test_after_replying(neuron: Neuron, fault: str, rank: int) -> None:
    epoch = neuron.ready_group(env={rank: f"{fault}@replied:after=1"})
    outcomes = epoch.execute_later(one_token_step(0), DEADLINE_S)
    first = outcomes.get(timeout=WAIT_S)

    # The reply may or may not have left the process; nothing else may become of it.
    if isinstance(first, Ok):
        assert first == answer_to(0)
        if epoch.driver.state is GroupState.READY and fault == STOP:
            outcomes = epoch.execute_later(one_token_step(1), DEADLINE_S)
            assert_blames(outcomes.get(timeout=WAIT_S), rank, CAUSES[fault])
    assert_replaced(neuron, epoch, outcomes)
    assert f"rank {rank}" in epoch.broken_message


@FAULTS
@RANKS
def test_while_draining(neuron: Neuron, fault: str, rank: int) -> None:
    epoch = neuron.ready_group(env={rank: f"{fault}@draining"})
    assert epoch.execute(one_token_step(0)) == answer_to(0)

    epoch.end(grace_s=0.3, term_s=0.1)
    assert sorted(epoch.exits.get(timeout=WAIT_S).slot for _ in epoch.handles) == [1, 2]
    assert not any(process_state(handle.pid) for handle in epoch.handles)
    assert not epoch.broken.is_set()


@RANKS
def test_a_rank_that_hangs_in_a_collective_ends_by_the_deadline(neuron: Neuron, rank: int) -> None:
    epoch = neuron.ready_group(env={rank: "hang-collective@inside"})
    outcomes = epoch.execute_later(one_token_step(0), DEADLINE_S)

    assert_blames(outcomes.get(timeout=WAIT_S), rank, "stalled, did not answer")
    assert_replaced(neuron, epoch, outcomes)


@RANKS
def test_a_reply_that_is_never_sent_ends_by_the_deadline(neuron: Neuron, rank: int) -> None:
    epoch = neuron.ready_group(env={rank: "drop-replies@replied:after=1"})
    outcomes = epoch.execute_later(one_token_step(0), DEADLINE_S)

    assert_blames(outcomes.get(timeout=WAIT_S), rank, "did not answer")
    assert_replaced(neuron, epoch, outcomes)


def test_a_failure_that_all_ranks_report_alike_leaves_the_group_usable(neuron: Neuron) -> None:
    epoch = neuron.ready_group(env={0: "oom@before", 1: "oom@before"})

    outcome = epoch.execute(one_token_step(0))
    assert isinstance(outcome, RequestFailure)
    # As a rank's own operators say it, so that what is switched on is what would happen.
    assert outcome.code == FailureCode.OUT_OF_MEMORY
    assert epoch.execute(ClearCache()) == cleared()
    assert epoch.execute(one_token_step(1)) == answer_to(1)
    epoch.end()
