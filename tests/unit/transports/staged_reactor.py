"""A reactor on whose threads a schedule decides.

The reactor, its poller and the kernel's epoll are real. Only the sockets are not: they swallow the
sign of an arrival whenever they are used, as ZeroMQ's may.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import zmq

from tests.unit.transports.interleaving import Interleaving, TurnsLock
from transports import outbox, poller, reactor, turn
from transports.outbox import Commands
from transports.reactor import Reactor

FILES = tuple(str(module.__file__) for module in (turn, outbox, poller, reactor))


class SwallowingSocket:
    """A socket on which messages arrive; each use of it takes the sign of those that have."""

    def __init__(self, schedule: Interleaving) -> None:
        self._schedule = schedule
        self._sign = os.eventfd(0, os.EFD_NONBLOCK)
        self._arrived = self._readable = 0
        self._busy = False
        self.sent = list[Any]()
        self.received = 0
        self.shared = False
        """Whether two threads were ever in it at once."""

    def fileno(self) -> int:
        return self._sign

    def arrive(self) -> None:
        self._arrived += 1
        os.eventfd_write(self._sign, 1)

    def send(self, what: Any) -> None:
        with self._used():
            self.sent.append(what)

    def receive(self) -> None:
        with self._used():
            if self._readable:
                self._readable -= 1
                self.received += 1

    def getsockopt(self, option: int) -> int:
        assert option == zmq.EVENTS
        with self._used():
            return zmq.POLLIN if self._readable else 0

    @contextmanager
    def _used(self) -> Iterator[None]:
        self.shared |= self._busy
        self._busy = True
        self._schedule.point()
        if self._arrived:
            self._readable += self._arrived
            self._arrived = 0
            os.eventfd_read(self._sign)
        yield
        self._schedule.point()
        self._busy = False

    def close(self) -> None:
        os.close(self._sign)


class PatientEpoll:
    """The kernel's, but its waiting is part of the schedule and has no end."""

    def __init__(self, real: select.epoll, schedule: Interleaving) -> None:
        self._real = real
        self._schedule = schedule

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        got = self._real.poll(0)
        while not got and timeout_s:
            # As in the kernel: what has woken us may be gone when we look.
            self._schedule.point(self._has_something)
            got = self._real.poll(0)
        return got

    def _has_something(self) -> bool:
        return bool(select.select([self._real], (), (), 0)[0])


class Stage:
    """A reactor with one socket, a network that feeds it, and threads that send on it."""

    def __init__(self, schedule: Interleaving) -> None:
        self._schedule = schedule
        self.reactor = it = Reactor("staged")
        it._wake_lock = nullcontext()  # type: ignore[assignment]
        it._turn._lock = TurnsLock(schedule, held=True)  # type: ignore[assignment]
        it.poller.wait = PatientEpoll(it.poller._epoll, schedule).wait  # type: ignore[assignment]
        self.socket = SwallowingSocket(schedule)
        it.adopt(self.socket, self.socket.receive)
        self._fd = self.socket.fileno()
        self.commands = Commands(it, lambda: True)
        self.posted = list[Any]()
        self.arrivals = 0

    def react(self) -> None:
        while not self.reactor._turn.stopping:
            self.reactor.turn()

    def feed(self, messages: int) -> None:
        for _ in range(messages):
            self._schedule.point()
            self.arrivals += 1
            self.socket.arrive()

    def act(self, name: int, deeds: Sequence[str]) -> None:
        for number, deed in enumerate(deeds):
            match deed:
                case "send":
                    self.commands.run(self._send, (name, number))
                case "far":
                    self.commands.run_there(self._send, (name, number))
                case _:
                    self.reactor.call_soon(lambda what=(name, number): self.posted.append(what))  # type: ignore[misc]

    def _send(self, what: Any) -> None:
        self.reactor.poller.unsure.add(self._fd)
        self.socket.send(what)

    def close(self) -> None:
        self.reactor.stop()
        self.reactor.run()
        self.socket.close()


def play(
    seed: int, senders: Sequence[Sequence[str]], messages: int, files: Sequence[str] = ()
) -> None:
    """Run one schedule until nobody can go on; nothing may be left undone then.

    ``files`` are traced besides those of the product.
    """
    with Interleaving(seed, (*FILES, *files)) as schedule:
        stage = Stage(schedule)
        try:
            stage.reactor._ident = schedule.spawn(stage.react)
            schedule.spawn(lambda: stage.feed(messages))
            for name, deeds in enumerate(senders):
                schedule.spawn(lambda name=name, deeds=deeds: stage.act(name, deeds))  # type: ignore[misc]
            schedule.run()
            check(stage, senders)
        finally:
            schedule.__exit__(None, None, None)
            stage.close()


def check(stage: Stage, senders: Sequence[Sequence[str]]) -> None:
    assert not stage.socket.shared, "two threads use the socket"
    for name, deeds in enumerate(senders):
        mine = [number for number, deed in enumerate(deeds) if deed != "post"]
        sent = [number for sender, number in stage.socket.sent if sender == name]
        assert sent == mine, "a command was lost, repeated or overtaken"
    posted = sum(deed == "post" for deeds in senders for deed in deeds)
    assert len(stage.posted) == posted, "what was posted waits for ever"
    assert stage.socket.received == stage.arrivals, "a message waits for ever"
