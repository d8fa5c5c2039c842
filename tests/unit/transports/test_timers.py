from __future__ import annotations

import math

from transports.timers import Timer, TimerQueue


def drain(timers: TimerQueue, now: float) -> None:
    while (due := timers.pop_due(now)) is not None:
        due()


def test_timers_fire_in_order_of_time_then_of_adding() -> None:
    timers, fired = TimerQueue(), list[str]()
    for at, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        timers.add(Timer(at, lambda name=name: fired.append(name)))  # type: ignore[misc]
    assert timers.next_at == 1.0
    drain(timers, 2.5)
    assert fired == ["a", "b", "c"]
    assert timers.next_at == 3.0
    drain(timers, 3.0)
    assert timers.next_at == math.inf


def test_cancelled_timer_does_not_fire_and_does_not_wake() -> None:
    timers, fired = TimerQueue(), list[str]()
    timer = Timer(1.0, lambda: fired.append("a"))
    timers.add(timer)
    timers.add(Timer(9.0, lambda: fired.append("b")))
    timer.cancel()
    timer.cancel()
    drain(timers, 5.0)
    assert fired == []
    assert timers.next_at == 9.0
