"""The actor kit on virtual threads: the real actors, with the world as their thread.

Everything that the kit does with threads and with the time of day is replaced here and nowhere
else: the thread of an actor, the wait for its next letter, the timers, the counters from which
incarnations come.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

from cortex_actors.http import generation
from cortex_actors.http.event_queue import EventQueue
from cortex_actors.kit import actor_timer, cell, ref
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.asking import Future
from cortex_actors.kit.inbox import Inbox, Letter
from cortex_actors.kit.loop import ActorLoop
from tests.simulation.world import Event, Host, World
from transports import identity


class _Inbox(Inbox):
    """Says when a letter has come."""

    __slots__ = ("on_letter",)

    def __init__(self) -> None:
        super().__init__()
        self.on_letter: Callable[[], None] = lambda: None

    def put_user(self, letter: Letter) -> None:
        super().put_user(letter)
        self.on_letter()

    def put_control(self, letter: Letter) -> None:
        self._append(self._control, letter)
        self.on_letter()

    def put_in_order(self, letter: Letter) -> None:
        super().put_in_order(letter)
        self.on_letter()


class _Thread:
    """One actor's: a turn is an event."""

    def __init__(self, world: World, loop: ActorLoop, inbox: _Inbox) -> None:
        self._world = world
        self._host = world.host
        self._loop = loop
        self._inbox = inbox
        self._due = True
        self._over = False
        inbox.on_letter = self._wake
        world.later(world.a_while(self._host), self._open)

    def _wake(self) -> None:
        if not self._due and not self._over:
            self._due = True
            self._world.later(self._world.a_while(self._host), self._turn, self._host)

    def _open(self) -> None:
        self._go_on(self._loop.open())

    def _turn(self) -> None:
        self._go_on(self._inbox.empty() or self._loop.turn())

    def _go_on(self, alive: bool) -> None:
        self._due, self._over = False, not alive
        if alive and not self._inbox.empty():
            self._wake()


class _Timers:
    """The process's timers, one set for all hosts: what they fire goes into a host's inbox."""

    def __init__(self, world: World) -> None:
        self._world = world

    def after(self, delay_s: float, fire: Callable[[], None]) -> Event:
        return self._world.later(max(delay_s, 0.0), fire)


class WakingQueue(EventQueue):  # type: ignore[misc]
    """An event queue whose reader is no thread and is called instead."""

    def __init__(self, *, streamed: bool = True) -> None:
        super().__init__(streamed=streamed)
        self.on_wake: Callable[[], None] = lambda: None

    def wake(self) -> None:
        super().wake()
        self.on_wake()


class _Crashes(logging.Handler):
    """An exception that somebody caught and logged is a violation all the same."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._world.violate(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def staged(world: World, actors: dict[tuple[Host, str], SupervisedActor]) -> Iterator[None]:
    """Have every actor that is started in here live in ``world``; ``actors`` lists them."""

    def start(actor: SupervisedActor) -> None:
        actors[world.host, actor._cell.name] = actor
        _Thread(world, actor._loop, actor.actor_inbox)

    def wait(future: Future[Any], timeout_s: float) -> bool:
        if not future.done:
            world.violate("an actor waits for another")
        return future.done

    queues: list[WakingQueue] = []

    def queue(*, streamed: bool = True) -> WakingQueue:
        queues.append(WakingQueue(streamed=streamed))
        return queues[-1]

    crashes, log = _Crashes(world), logging.getLogger("cortex")
    level = log.level
    with ExitStack() as stack:
        for target, name, value in (
            (SupervisedActor, "_start_actor_loop", start),
            (SupervisedActor, "_create_actor_inbox", staticmethod(_Inbox)),
            (Future, "wait", wait),
            (actor_timer, "TIMERS", _Timers(world)),
            (actor_timer, "_clock", world),
            (ref, "TIMERS", _Timers(world)),
            (cell, "_incs", count(1)),
            (identity, "_incarnations", count(1)),
            (identity, "process_boot", lambda: world.host.boot),
            (generation, "EventQueue", queue),
        ):
            stack.enter_context(patch.object(target, name, value))
        # PERF: a fourth of the time went into looking for garbage among what is alive.
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(200_000, 20, 100)
        log.addHandler(crashes)
        log.setLevel(logging.ERROR)
        propagate, log.propagate = log.propagate, False
        try:
            yield
        finally:
            # A front end that was killed has left its descriptors to the kernel.
            for each in queues:
                each.close()
            log.removeHandler(crashes)
            log.setLevel(level)
            log.propagate = propagate
