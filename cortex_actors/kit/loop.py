"""What an actor's thread does: take a letter, have it handled, answer, and end well.

It is driven one ``turn`` at a time, so tests can be the thread. Nothing that a handler raises gets
out of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final

from pykka._envelope import Envelope

from cortex_actors.kit.asking import Future
from cortex_actors.kit.cell import Cell
from cortex_actors.kit.errors import ActorCrashed, ExpectedError
from cortex_actors.kit.inbox import Stop
from cortex_actors.kit.monitor import Claimed
from cortex_actors.kit.reasons import FENCED, ExitReason

_log = logging.getLogger("cortex.actors")


class Behaviour(Protocol):
    """The part of an actor that is not the loop."""

    def on_start(self) -> Future[Any] | None:
        """Set up."""
        ...

    def on_stop(self, reason: ExitReason) -> None:
        """Clean up."""
        ...

    def on_stop_request(self, reason: ExitReason) -> None:
        """React to a stop."""
        ...

    def dispatch(self, message: object) -> Any:
        """Handle one message and return the answer."""
        ...


class Cancellable(Protocol):
    """What the actor started and what dies with it: timers and monitors."""

    def cancel(self) -> None:
        """Have it not come."""
        ...


@dataclass(frozen=True, slots=True)
class Resume:
    """Run ``then(future)`` on the actor's own thread."""

    then: Callable[[Future[Any]], None]
    future: Future[Any]


@final
class ActorLoop:
    """The loop of one actor incarnation; all methods belong to its thread."""

    __slots__ = ("_actor", "_cell", "_leaving", "_system", "dependents")

    def __init__(self, actor: Behaviour, cell: Cell) -> None:
        self._actor = actor
        self._cell = cell
        self._leaving: ExitReason | None = None
        self._system: dict[type, Callable[[Any], Any]] = {
            Stop: self._stop,
            Claimed: self._claimed,
            Resume: self._resume,
        }
        self.dependents: set[Cancellable] = set()

    def run(self) -> None:
        """Live one life."""
        if self.open():
            while self.turn():
                pass

    def leave(self, reason: ExitReason) -> None:
        """End when the current handler returns; the first reason stands."""
        if self._leaving is None:
            self._leaving = reason

    def open(self) -> bool:
        """Run ``on_start``; returns whether there is a life to live."""
        cell = self._cell
        try:
            readiness = self._actor.on_start()
        except BaseException as error:  # noqa: BLE001 - crash isolation: nothing gets past the loop
            _log.exception("event=init_failed name=%s inc=%d", cell.name, cell.inc)
            reason = ExitReason.init_failed(error)
            self._cut_ties(reason)
            cell.publish(reason)
            return False
        if readiness is None:
            cell.ready.resolve(None)
        else:
            readiness.on_done(lambda done: cell.notify(Resume(self._became_ready, done)))
        if self._leaving is None:
            return True
        self._end(self._leaving)
        return False

    def turn(self) -> bool:
        """Wait for one letter and handle it; returns whether life goes on."""
        cell = self._cell
        letter = cell.inbox.get()
        reply: Any = letter.reply_to
        if reply is not None:
            if reply.done:  # whoever asked has given up
                return True
            cell.owed.add(reply)
        # SAFETY: after owed.add; a fence on another thread finds the reply, or we see the fence.
        if cell.inbox.closed:
            self._end(FENCED)
            return False
        cell.handled += 1
        try:
            answer = self._deliver(letter.message)
        except ExpectedError as error:
            self._refuse(letter, error)
        except BaseException as error:  # noqa: BLE001 - crash isolation: nothing gets past the loop
            self._crash(error, reply)
            return False
        else:
            if reply is not None:
                self._answer(reply, answer)
        if self._leaving is None:
            return True
        self._end(self._leaving)
        return False

    def _deliver(self, message: object) -> Any:
        system = self._system.get(type(message))
        return self._actor.dispatch(message) if system is None else system(message)

    def _answer(self, reply: Future[Any], answer: Any) -> None:
        owed = self._cell.owed
        if isinstance(answer, Future):
            reply.on_done(owed.discard)
            answer.on_done(lambda done: _pass_on(done, reply))
        else:
            reply.resolve(answer)
            owed.discard(reply)

    def _refuse(self, letter: Envelope[Any], error: ExpectedError) -> None:
        reply: Any = letter.reply_to
        if reply is None:
            what = type(letter.message).__name__
            _log.warning("event=refused name=%s message=%s error=%s", self._cell.name, what, error)
        else:
            reply.fail(error)
            self._cell.owed.discard(reply)

    def _crash(self, error: BaseException, reply: Future[Any] | None) -> None:
        cell = self._cell
        _log.exception("event=actor_crashed name=%s inc=%d", cell.name, cell.inc)
        reason = ExitReason.raised(error)
        if reply is not None:
            # Dead first, so that whoever gets the answer finds the actor dead.
            cell.owed.discard(reply)
            self._cut_ties(reason)
            crashed = ActorCrashed(cell.name, reason)
            crashed.__cause__ = error
            reply.fail(crashed)
        self._end(reason)

    def _end(self, reason: ExitReason) -> None:
        cell = self._cell
        self._cut_ties(reason)
        try:
            self._actor.on_stop(reason)
        except BaseException as error:  # noqa: BLE001 - the exit is published whatever happens
            _log.exception("event=on_stop_failed name=%s inc=%d", cell.name, cell.inc)
            reason = reason if reason.abnormal else ExitReason.raised(error)
        cell.publish(reason)
        _log.debug("event=actor_stopped name=%s inc=%d reason=%s", cell.name, cell.inc, reason)

    def _cut_ties(self, reason: ExitReason) -> None:
        for dependent in tuple(self.dependents):
            dependent.cancel()
        self.dependents.clear()
        self._cell.refuse_all(reason)

    def _became_ready(self, readiness: Future[Any]) -> None:
        if readiness.error is None:
            self._cell.ready.resolve(None)
        else:
            self.leave(ExitReason.init_failed(readiness.error))

    def _stop(self, stop: Stop) -> None:
        self._actor.on_stop_request(stop.reason)

    def _claimed(self, claimed: Claimed) -> Any:
        return self._actor.dispatch(claimed.message) if claimed.claim.take() else None

    def _resume(self, resume: Resume) -> None:
        resume.then(resume.future)


def _pass_on(answer: Future[Any], reply: Future[Any]) -> None:
    if answer.error is None:
        reply.resolve(answer.result())
    else:
        reply.fail(answer.error)
