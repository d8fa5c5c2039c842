from __future__ import annotations

from collections.abc import Callable

from transports.clock import ManualClock
from transports.liveness import LOCAL, REMOTE, Liveness, LivenessPolicy, Sign


def watch(
    policy: LivenessPolicy,
    seconds: float,
    *,
    busy: bool = False,
    clock: ManualClock | None = None,
    liveness: Liveness | None = None,
    on_ping: Callable[[float], None] | None = None,
) -> list[tuple[float, Sign]]:
    """Tick on time for that long, and return what was concluded when."""
    clock = clock or ManualClock()
    liveness = liveness or Liveness(policy, clock.now())
    seen = []
    for _ in range(int(seconds / policy.tick_s)):
        now = clock.advance(policy.tick_s)
        for sign in liveness.tick(now, busy=busy):
            seen.append((now, sign))
            if sign is Sign.PING and on_ping is not None:
                on_ping(now)
    return seen


def first(seen: list[tuple[float, Sign]], sign: Sign) -> float | None:
    return next((at for at, what in seen if what is sign), None)


def test_silent_local_peer_is_asked_then_suspected_then_given_up() -> None:
    seen = watch(LOCAL, 5.0)
    assert first(seen, Sign.PING) == 1.0
    assert first(seen, Sign.SUSPECT) == 3.0
    assert first(seen, Sign.DOWN) == 5.0


def test_silent_remote_peer_gets_twice_the_time() -> None:
    seen = watch(REMOTE, 10.0, busy=True)
    assert first(seen, Sign.PING) == 2.0
    assert first(seen, Sign.SUSPECT) == 6.0
    assert first(seen, Sign.DOWN) == 10.0


def test_peer_that_answers_pings_is_never_suspected() -> None:
    liveness = Liveness(LOCAL, 0.0)
    seen = watch(LOCAL, 60.0, liveness=liveness, on_ping=liveness.heard)
    assert {sign for _, sign in seen} == {Sign.PING}


def test_chatty_peer_is_not_even_asked() -> None:
    clock, liveness = ManualClock(), Liveness(LOCAL, 0.0)
    for _ in range(100):
        liveness.heard(clock.now())
        assert liveness.tick(clock.advance(LOCAL.tick_s), busy=False) == ()


def test_busy_local_peer_is_left_to_the_deadline_of_its_work() -> None:
    assert watch(LOCAL, 600.0, busy=True) == []


def test_silence_is_counted_from_when_the_work_ended() -> None:
    clock = ManualClock()
    liveness = Liveness(LOCAL, 0.0)
    watch(LOCAL, 60.0, busy=True, clock=clock, liveness=liveness)
    seen = watch(LOCAL, 5.0, clock=clock, liveness=liveness)
    assert first(seen, Sign.DOWN) == 65.0


def test_suspicion_is_reported_once_and_ends_with_a_sign_of_life() -> None:
    clock = ManualClock()
    liveness = Liveness(LOCAL, 0.0)
    seen = watch(LOCAL, 4.5, clock=clock, liveness=liveness)
    assert [sign for _, sign in seen].count(Sign.SUSPECT) == 1
    liveness.heard(clock.now())
    assert first(watch(LOCAL, 3.0, clock=clock, liveness=liveness), Sign.SUSPECT) == 7.5


def test_own_stall_of_ten_seconds_condemns_nobody() -> None:
    clock = ManualClock()
    liveness = Liveness(LOCAL, 0.0)
    watch(LOCAL, 2.5, clock=clock, liveness=liveness)
    assert liveness.tick(clock.advance(10.0), busy=False) == (Sign.PING,)
    seen = watch(LOCAL, 5.0, clock=clock, liveness=liveness)
    assert first(seen, Sign.SUSPECT) == 15.5
    assert first(seen, Sign.DOWN) == 17.5


def test_own_tick_a_little_late_excuses_nothing() -> None:
    liveness = Liveness(LOCAL, 0.0)
    assert liveness.tick(1.5, busy=False) == (Sign.PING,)
    assert liveness.tick(3.0, busy=False) == (Sign.SUSPECT, Sign.PING)
    assert liveness.tick(4.5, busy=False) == (Sign.PING,)
    assert liveness.tick(6.0, busy=False) == (Sign.DOWN,)
