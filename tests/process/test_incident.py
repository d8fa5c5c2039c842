"""The incident that this project comes from, with its real shape.

A leader failed after fanning a step out to its workers, returned early without reading their
replies, and every later call on those pipes read the previous call's answer. The next operation was
a cache clear.
"""

from __future__ import annotations

import os
import signal

import pytest

from neuron_runtime.group import GroupBusy, GroupState, GroupUnusable
from neuron_runtime.outcome import GroupFailure
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.process.neuron import WAIT_S, Neuron
from tests.process.steps import answer_to, cleared, one_token_step
from transports.fence import DropReason
from transports.schemas.daemon import MemberDown
from transports.schemas.group import ClearCache

pytestmark = pytest.mark.process


def test_the_leader_fails_after_the_fan_out_and_the_next_operation_is_a_clear(
    neuron: Neuron,
) -> None:
    epoch = neuron.ready_group(3, env={0: "oom@inside"})
    outcome = epoch.execute(one_token_step(1))

    # All three were heard before the outcome: the leader's error is remembered, not acted on.
    assert isinstance(outcome, GroupFailure)
    assert [failure.member.rank for failure in outcome.failures] == [0]
    assert "MemoryError" in outcome.message
    # The ranks' states may differ now, so this group answers nothing more …
    with pytest.raises(GroupUnusable):
        epoch.execute(ClearCache())
    epoch.end()
    # … and on the next one, the clear gets the clear's replies, and the step the step's.
    successor = neuron.ready_group(3)
    assert successor.execute(ClearCache()) == cleared(3)
    assert successor.execute(one_token_step(2)) == answer_to(2, 3)
    successor.end()


def test_a_slow_leader_cannot_be_overtaken_by_the_next_operation(neuron: Neuron) -> None:
    epoch = neuron.ready_group(3, env={0: "slow-step@inside:seconds=0.3"})
    step = epoch.execute_later(one_token_step(1))

    with pytest.raises(GroupBusy):
        epoch.execute(ClearCache())
    assert step.get(timeout=WAIT_S) == answer_to(1, 3)
    assert epoch.execute(ClearCache()) == cleared(3)
    assert sum(epoch.driver.drops.values()) == 0
    epoch.end()


def test_a_rank_that_is_stopped_for_a_moment_is_waited_for(neuron: Neuron) -> None:
    epoch = neuron.ready_group()
    pid = epoch.handles[1].pid
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: process_state(pid) == "T")
    step = epoch.execute_later(one_token_step(1))
    os.kill(pid, signal.SIGCONT)

    assert step.get(timeout=WAIT_S) == answer_to(1)
    assert epoch.execute(ClearCache()) == cleared()
    assert epoch.kills == []
    epoch.end()


def test_the_late_reply_of_a_stopped_and_fenced_rank_is_counted_and_dropped(
    neuron: Neuron,
) -> None:
    former = neuron.ready_group()
    former.fence_on_break = False
    stopped, other = former.handles[1], former.members[1]
    os.kill(stopped.pid, signal.SIGSTOP)
    eventually(lambda: process_state(stopped.pid) == "T")
    step = former.execute_later(one_token_step(1))
    # Declared dead while it is only stopped: the worst mistake that a supervisor can make.
    notice = MemberDown(former.number, other.slot, other.inc, "declared dead")
    neuron.on_reactor(lambda: former.driver.member_down(notice))
    assert isinstance(step.get(timeout=WAIT_S), GroupFailure)

    successor = neuron.ready_group()
    before = former.driver.drops[DropReason.AFTER_CLOSE]
    os.kill(stopped.pid, signal.SIGCONT)
    assert successor.execute(ClearCache()) == cleared()
    eventually(lambda: former.driver.drops[DropReason.AFTER_CLOSE] == before + 1)

    assert former.driver.state is GroupState.BROKEN
    assert step.empty()
    assert successor.execute(one_token_step(2)) == answer_to(2)
    successor.end()
    former.end()


def test_a_busy_rank_that_stays_stopped_is_killed_within_6_5_s_of_a_long_deadline(
    neuron: Neuron,
) -> None:
    epoch = neuron.ready_group()
    os.kill(epoch.handles[1].pid, signal.SIGSTOP)
    outcome = epoch.execute(one_token_step(1), deadline_s=600.0)

    assert isinstance(outcome, GroupFailure)
    assert "stopped by a signal" in outcome.message
    epoch.end()


def test_an_idle_rank_that_stays_stopped_is_found_silent(neuron: Neuron) -> None:
    epoch = neuron.ready_group()
    os.kill(epoch.handles[0].pid, signal.SIGSTOP)

    assert epoch.broken.wait(WAIT_S)
    assert "rank 0" in epoch.broken_message
    assert "silent" in epoch.broken_message
    epoch.end()
