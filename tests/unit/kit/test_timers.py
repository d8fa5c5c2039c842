from __future__ import annotations

import threading
from functools import partial

import pytest

from cortex_actors.kit.timers import TimerQueue, TimerThread
from tests.eventually import eventually
from tests.unit.kit.actors import SOON_S, Actor, Diary, Do, Echo, Gate, hold
from tests.unit.kit.conftest import Start


def test_timers_come_due_in_order_and_equal_ones_in_order_of_arrival() -> None:
    queue = TimerQueue()
    fired: list[str] = []
    for at, what in ((2.0, "b"), (1.0, "a"), (2.0, "c"), (3.0, "d")):
        queue.add(at, partial(fired.append, what))
    assert queue.next_at() == 1.0
    for timer in queue.due(2.0):
        assert timer.fire is not None
        timer.fire()
    assert fired == ["a", "b", "c"]
    assert queue.next_at() == 3.0
    assert queue.due(2.9) == []


def test_a_cancelled_timer_is_not_due() -> None:
    queue = TimerQueue()
    first = queue.add(1.0, lambda: None)
    second = queue.add(2.0, lambda: None)
    first.cancel()
    first.cancel()
    assert queue.next_at() == 2.0
    assert queue.due(5.0) == [second]
    assert queue.next_at() is None


def test_cancelled_deadlines_do_not_pile_up() -> None:
    queue = TimerQueue()
    kept = [queue.add(10.0, lambda: None) for _ in range(10)]
    for _ in range(10_000):
        queue.add(5.0, lambda: None).cancel()
    assert len(queue) < 200
    assert queue.due(20.0) == kept


def test_what_is_left_when_cancelled_ones_are_swept_out_keeps_its_order() -> None:
    queue = TimerQueue()
    timers = [queue.add(float(n * 37 % 101), lambda: None) for n in range(64)]
    for timer in timers[::3]:
        timer.cancel()
    queue.add(50.5, lambda: None)
    left = [timer.at for timer in queue.due(101.0)]
    assert left == sorted(left)


def test_one_timer_may_cancel_another_that_is_due_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timers, gate, done = TimerThread(), Gate(), threading.Event()
    timers.after(0.0, gate.hold)
    assert gate.entered.wait(SOON_S)
    timers.after(0.0, lambda: never.cancel())
    never = timers.after(0.0, lambda: print(1 / 0))
    timers.after(0.0, done.set)
    with caplog.at_level("ERROR", "cortex.actors"):
        gate.opened.set()
        assert done.wait(SOON_S)
    assert caplog.records == []


def test_the_thread_fires_soonest_first_and_survives_a_bad_timer() -> None:
    timers = TimerThread()
    done = threading.Event()
    order: list[str] = []

    def finish() -> None:
        order.append("late")
        done.set()

    never = timers.after(0.005, lambda: order.append("never"))
    timers.after(0.03, finish)
    timers.after(0.01, lambda: order.append("early"))
    timers.after(0.0, lambda: print(1 / 0))
    never.cancel()
    assert done.wait(SOON_S)
    assert order == ["early", "late"]


def test_an_actor_tells_itself_later_ahead_of_its_backlog(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    ref.ask(Do(lambda actor: actor.tell_later(0.0, Echo("tick")) and None), SOON_S)
    eventually(lambda: "tick" in diary.entries)


def test_a_cancelled_message_is_not_delivered_even_from_the_mailbox(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    timer = ref.ask(Do(lambda actor: actor.tell_later(0.01, Echo("tick"))), SOON_S)
    gate = hold(ref)
    eventually(lambda: ref.mailbox == 1)
    timer.cancel()  # the actor's own thread waits at the gate, so this is as good as from there
    gate.opened.set()
    ref.ask(Echo("after"), SOON_S)
    assert diary.entries == ["start", "after"]


def test_a_periodic_message_comes_until_cancelled(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    timer = ref.ask(Do(lambda actor: actor.tell_every(0.005, Echo("tick"))), SOON_S)
    eventually(lambda: diary.entries.count("tick") >= 3)
    ref.ask(Do(lambda _: timer.cancel()), SOON_S)
    count = diary.entries.count("tick")
    ref.ask(Echo("after"), SOON_S)
    assert diary.entries.count("tick") == count


def test_a_busy_actor_is_not_flooded_by_its_timer(start: Start) -> None:
    ref = start()
    ref.ask(Do(lambda actor: actor.tell_every(0.001, Echo("tick"))), SOON_S)
    gate = hold(ref)
    with pytest.raises(AssertionError):
        eventually(lambda: ref.mailbox > 1, within_s=0.1)
    gate.opened.set()


def test_timers_die_with_their_actor(start: Start) -> None:
    diary = Diary()
    ref = start(Actor, diary)
    timer = ref.ask(Do(lambda actor: actor.tell_every(0.001, Echo("tick"))), SOON_S)
    ref.stop()
    assert ref.exit.wait(SOON_S)
    assert not timer.take()
    assert diary.entries[-1] == ("stop", "shutdown")
