"""The reactor's turn, taken by several threads in every order that can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.transports.interleaving import TurnsLock
from tests.unit.transports.staged_reactor import play
from transports.outbox import Commands
from transports.poller import Poller
from transports.turn import Turn

CASTS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("send",),),
    (("post",), ("send", "send")),
    (("send", "send"), ("send", "post", "send"), ("send", "far", "send")),
)
"""What the senders do; the first leaves nothing to wake the reactor but an arrival."""
SEEDS = 4000


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    senders=st.lists(
        st.lists(st.sampled_from(("send", "post", "far")), max_size=4), min_size=1, max_size=3
    ),
    messages=st.integers(0, 3),
)
def test_nothing_is_lost_overtaken_or_done_by_two_at_once(
    seed: int, senders: list[list[str]], messages: int
) -> None:
    play(seed, senders, messages)


def test_who_finds_something_posted_leaves_the_turn_to_the_reactor() -> None:
    rings, entered = list[int](), list[bool]()
    mine = Turn(lambda: rings.append(1), lambda: ())

    def poll(_: float) -> None:
        entered.append(mine.enter())
        mine.leave()
        mine.post(lambda: None)
        entered.append(mine.enter())
        mine.post(lambda: None)

    mine.wait(poll, 1.0)
    assert entered == [True, False]
    assert rings == [1]
    mine.soon.clear()
    mine.stop()
    mine.wait(lambda wait_s: entered.append(wait_s == 0), 1.0)
    assert entered == [True, False, True]
    assert not mine.enter()


# -- mistakes ------------------------------------------------------------------------------------


def _leave_without_looking(self: Any) -> None:
    self._lock.release()


def _leave_without_ringing(self: Any) -> None:
    self._look()
    self._lock.release()


def _look_after_leaving(self: Any) -> None:
    self._lock.release()
    if self._look():
        self._rouse()


def _post_without_ringing(self: Any, fn: Callable[[], None]) -> None:
    self.soon.append(fn)


def _ring_before_posting(self: Any, fn: Callable[[], None]) -> None:
    self._rouse()
    self.soon.append(fn)


def _say_too_late_that_we_wait(self: Any, poll: Callable[[float], Any], wait_s: float) -> Any:
    if wait_s <= 0 or self.soon or self.stopping:
        return poll(0)
    self._waiting = True
    self._lock.release()
    ready = poll(wait_s)
    self._lock.acquire()
    self._waiting = False
    return ready


def _work_without_the_turn(self: Any, poll: Callable[[float], Any], wait_s: float) -> Any:
    self._waiting = True
    if wait_s <= 0 or self.soon or self.stopping:
        ready = poll(0)
    else:
        self._lock = TurnsLock(self._lock._schedule, held=False)
        ready = poll(wait_s)
    self._waiting = False
    return ready


def _enter_without_the_turn(self: Any) -> bool:
    self._lock._held = True
    return True


def _overtake(self: Any, command: Callable[..., None], *args: Any) -> None:
    if self._on_thread():
        self._run_waiting()
        command(*args)
    elif not self._run_here(command, args):
        self._post(command, args)


def _forget_what_is_readable(self: Any) -> list[int]:
    self.unsure.clear()
    return []


MISTAKES: dict[str, AbstractContextManager[Any]] = {
    mistake.__name__.strip("_"): patch.object(owner, name, mistake)
    for owner, name, mistake in (
        (Turn, "leave", _leave_without_looking),
        (Turn, "leave", _leave_without_ringing),
        (Turn, "leave", _look_after_leaving),
        (Turn, "post", _post_without_ringing),
        (Turn, "post", _ring_before_posting),
        (Turn, "wait", _say_too_late_that_we_wait),
        (Turn, "wait", _work_without_the_turn),
        (Turn, "enter", _enter_without_the_turn),
        (Commands, "run", _overtake),
        (Poller, "look", _forget_what_is_readable),
    )
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_out(mistake: str) -> None:
    with MISTAKES[mistake]:
        for seed in range(SEEDS):
            try:
                play(seed, CASTS[seed % len(CASTS)], 2, (__file__,))
            except AssertionError:
                return
    pytest.fail(f"{SEEDS} schedules do not find it")
