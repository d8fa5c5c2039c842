from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from transports import outbox
from transports.errors import LinkDown
from transports.fence import DropCounters
from transports.outbox import Commands, Outbox
from transports.timers import Timer


class FakeLoop:
    """A loop whose turns are taken by hand."""

    def __init__(self) -> None:
        self.counters = DropCounters()
        self.here = True
        self.idle = False
        self.inside = False
        self.soon: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []

    def now(self) -> float:
        return 0.0

    def on_thread(self) -> bool:
        return self.here

    def enter(self) -> bool:
        self.inside = self.idle and not self.soon
        return self.inside

    def leave(self) -> None:
        assert self.inside
        self.inside = False

    def call_soon(self, fn: Callable[[], None]) -> None:
        self.soon.append(fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Timer:
        self.later.append(fn)
        return Timer(delay_s, fn)

    def callback_failed(self) -> None:
        pass


class FakePort:
    """A port with room for so many messages."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.gone = False
        self.closed = False
        self.sent: list[Sequence[bytes]] = []

    def send(self, frames: Sequence[bytes]) -> bool:
        if self.gone:
            raise LinkDown("gone")
        if len(self.sent) >= self.room:
            return False
        self.sent.append(frames)
        return True

    def close(self) -> None:
        self.closed = True


def make(room: int) -> tuple[FakeLoop, FakePort, list[str], Outbox]:
    loop, port, lost = FakeLoop(), FakePort(room), list[str]()
    return loop, port, lost, Outbox(loop, port, lambda reason, _: lost.append(reason))


def test_messages_wait_for_room_and_keep_their_order() -> None:
    loop, port, lost, box = make(room=1)
    for name in (b"1", b"2", b"3"):
        box.send([name])
    assert port.sent == [[b"1"]]
    full = [box.is_full]
    port.room = 2
    loop.later.pop()()
    box.send([b"4"])
    full.append(box.is_full)
    port.room = 9
    loop.later.pop()()
    full.append(box.is_full)
    assert port.sent == [[b"1"], [b"2"], [b"3"], [b"4"]]
    assert full == [True, True, False]
    assert not loop.later
    assert not lost


def test_peer_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MESSAGES", 2)
    _, _, lost, box = make(room=0)
    for _ in range(3):
        box.send([b"x"])
    assert lost == ["overrun"]


@pytest.mark.parametrize("retried", [False, True])
def test_unreachable_peer_is_reported_once_when_its_last_words_could_be_read(
    retried: bool,
) -> None:
    loop, port, lost, box = make(room=0)
    if retried:
        box.send([b"1"])
    port.gone = True
    if retried:
        loop.later.pop()()
    else:
        box.send([b"1"])
    assert not lost
    loop.later.pop()()
    box.send([b"2"])
    assert lost == ["unreachable"]
    assert not loop.later
    box.close()
    assert port.closed


def test_commands_run_at_once_on_the_thread_and_in_order_otherwise() -> None:
    loop, done = FakeLoop(), list[int]()
    commands = Commands(loop, lambda: True)
    commands.run(done.append, 1)
    assert done == [1]
    loop.here = False
    commands.run(done.append, 2)
    commands.run(done.append, 3)
    assert done == [1]
    (wake_up,) = loop.soon
    loop.here = True
    commands.run(done.append, 4)
    assert done == [1, 2, 3, 4]
    wake_up()
    assert done == [1, 2, 3, 4]


def test_command_of_another_thread_runs_at_once_while_the_loop_only_waits() -> None:
    loop, done = FakeLoop(), list[int]()
    loop.here, loop.idle = False, True
    commands = Commands(loop, lambda: loop.inside)
    commands.run(done.append, 1)
    assert (done, loop.soon, loop.inside) == ([1], [], False)
    commands.run_there(done.append, 2)
    commands.run(done.append, 3)
    assert done == [1]
    (wake_up,) = loop.soon
    wake_up()
    assert done == [1, 2, 3]
    loop.here = True
    commands.run_there(done.append, 4)
    assert done == [1, 2, 3, 4]


def test_command_that_might_call_back_waits_for_the_loop() -> None:
    loop, done = FakeLoop(), list[int]()
    loop.here, loop.idle = False, True
    commands = Commands(loop, lambda: False)
    commands.run(done.append, 1)
    assert (done, len(loop.soon), loop.inside) == ([], 1, False)


def test_loop_is_left_when_a_command_fails() -> None:
    loop = FakeLoop()
    loop.here, loop.idle = False, True

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Commands(loop, lambda: True).run(fail)
    assert not loop.inside


def test_queue_of_commands_says_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "COMMANDS", 2)
    loop = FakeLoop()
    loop.here = False
    commands = Commands(loop, lambda: True)
    commands.run(int)  # type: ignore[arg-type]
    assert not commands.is_full
    commands.run(int)  # type: ignore[arg-type]
    assert commands.is_full
