"""Actors and messages that the kit's tests share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.asking import Future
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.monitor import Down, Monitor
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef

SOON_S = 5.0


@dataclass(frozen=True)
class Echo:
    value: Any


@dataclass(frozen=True)
class Raise:
    error: BaseException


@dataclass(frozen=True)
class Do:
    """Run this on the actor's thread; its result is the answer."""

    work: Callable[[Any], Any]


@dataclass
class Gate:
    """Holds an actor inside its handler until opened."""

    entered: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def hold(self, _: object = None) -> None:
        self.entered.set()
        assert self.opened.wait(SOON_S)


@dataclass
class Diary:
    """What happened to an actor, in order, for tests to read."""

    entries: list[Any] = field(default_factory=list)


class Actor(SupervisedActor):
    """Does what it is told and keeps a diary."""

    def __init__(self, diary: Diary | None = None) -> None:
        super().__init__()
        self.diary = diary or Diary()

    def on_start(self) -> Future[Any] | None:
        self.diary.entries.append("start")
        return None

    def on_stop(self, reason: ExitReason) -> None:
        self.diary.entries.append(("stop", str(reason)))

    def summary(self) -> str:
        return f"{len(self.diary.entries)} entries"

    @handles(Echo)
    def echo(self, message: Echo) -> Any:
        self.diary.entries.append(message.value)
        return message.value

    @handles(Raise)
    def fail(self, message: Raise) -> None:
        raise message.error

    @handles(Do)
    def do(self, message: Do) -> Any:
        return message.work(self)

    @handles(Down)
    def down(self, message: Down) -> None:
        self.diary.entries.append(message)


def watch(watcher: ActorRef, target: ActorRef) -> Monitor:
    monitor: Monitor = watcher.ask(Do(lambda actor: actor.monitor(target)), SOON_S)
    return monitor


def hold(ref: ActorRef) -> Gate:
    """Have an actor wait inside a handler; returns once it does."""
    gate = Gate()
    ref.tell(Do(gate.hold))
    assert gate.entered.wait(SOON_S)
    return gate
