from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from cortex_actors.kit.monitor import Down
from cortex_actors.kit.reasons import FENCED, NOPROC, SHUTDOWN, ExitReason
from cortex_actors.kit.ref import ActorRef
from tests.eventually import eventually
from tests.unit.kit.actors import SOON_S, Actor, Diary, Do, Echo, Raise, hold, watch
from tests.unit.kit.conftest import Start


def entries(ref: ActorRef) -> list[Any]:
    got: list[Any] = ref.ask(Do(lambda actor: list(actor.diary.entries)), SOON_S)
    return got[1:]


def test_a_monitor_learns_of_a_crash_exactly_once(start: Start) -> None:
    watcher, target = start(name="watcher"), start(name="target")
    tag = watch(watcher, target)
    target.tell(Raise(ValueError("boom")))
    assert target.exit.wait(SOON_S)
    target.stop()
    target.fence()
    reason = ExitReason.crash("ValueError", "boom")
    assert entries(watcher) == [Down(tag, "target", target.inc, reason)]


def test_two_monitors_of_one_target_each_get_their_own_notice(start: Start) -> None:
    watcher, target = start(), start()
    tags = {watch(watcher, target), watch(watcher, target)}
    target.stop()
    assert target.exit.wait(SOON_S)
    assert {down.tag for down in entries(watcher)} == tags
    assert len(tags) == 2


def test_monitoring_the_dead_gives_noproc_at_once(start: Start) -> None:
    watcher, target = start(), start()
    target.stop()
    assert target.exit.wait(SOON_S)
    tag = watch(watcher, target)
    assert [(down.tag, down.reason) for down in entries(watcher)] == [(tag, NOPROC)]


def test_what_the_dead_actor_said_comes_before_its_down(start: Start) -> None:
    watcher, target = start(), start()
    watch(watcher, target)
    gate = hold(watcher)

    def say(n: int, _: object) -> None:
        watcher.tell(Echo(n))

    for n in range(5):
        target.ask(Do(partial(say, n)), SOON_S)
    target.stop()
    assert target.exit.wait(SOON_S)
    gate.opened.set()
    *said, down = entries(watcher)
    assert said == [0, 1, 2, 3, 4]
    assert down.reason == SHUTDOWN


def test_a_full_mailbox_does_not_lose_the_notice(start: Start) -> None:
    class Small(Actor):
        mailbox_limit = 1

    watcher, target = start(Small), start()
    watch(watcher, target)
    gate = hold(watcher)
    watcher.tell(Echo("last"))
    target.stop()
    assert target.exit.wait(SOON_S)
    watcher.tell_control(Echo("control"))
    gate.opened.set()
    eventually(lambda: watcher.mailbox == 0)
    first, second, down = entries(watcher)
    assert (first, second, down.reason) == ("control", "last", SHUTDOWN)


def test_a_cancelled_monitor_is_silent_even_if_the_notice_is_in_the_mailbox(start: Start) -> None:
    watcher, target, other = start(), start(), start()
    early, late = watch(watcher, other), watch(watcher, target)
    gate = hold(watcher)
    target.stop()
    assert target.exit.wait(SOON_S)
    watcher.tell_control(Do(lambda _: late.cancel()))
    watcher.tell_control(Do(lambda _: early.cancel()))
    gate.opened.set()
    other.stop()
    assert other.exit.wait(SOON_S)
    assert entries(watcher) == []


def test_a_fenced_actor_is_down_with_reason_fenced_only(start: Start) -> None:
    watcher, target = start(), start()
    watch(watcher, target)
    gate = hold(target)
    target.fence()
    assert [down.reason for down in entries(watcher)] == [FENCED]
    gate.opened.set()


def test_a_dead_watcher_leaves_nothing_behind_at_its_target(start: Start) -> None:
    diary = Diary()
    watcher, target = start(Actor, diary), start()
    watch(watcher, target)
    watcher.stop()
    assert watcher.exit.wait(SOON_S)
    assert target.exit._callbacks == []


def test_a_monitor_names_its_target(start: Start) -> None:
    target = start(name="target")
    assert repr(watch(start(), target)) == f"<Monitor of target#{target.inc}>"


@pytest.mark.parametrize("rounds", [50])
def test_death_racing_a_monitor_gives_one_notice(start: Start, rounds: int) -> None:
    watcher = start()
    for _ in range(rounds):
        target = start()
        target.stop()
        watch(watcher, target)
        assert target.exit.wait(SOON_S)
    downs = entries(watcher)
    assert len(downs) == rounds
    assert {down.reason for down in downs} <= {SHUTDOWN, NOPROC}
