"""The actor that everything here is made of (semantics 5.9).

Pykka gives the thread, the inbox seam and the shape. The loop is ours, because pykka's stops every
actor of the process on SystemExit, leaves that asker unanswered, and can lose an ask that races a
stop. Here a handler either answers, refuses with an ``ExpectedError``, or crashes this one actor,
whose supervisor and monitors are told exactly once.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import pykka

from cortex_actors.kit.actor_timer import ActorTimer
from cortex_actors.kit.asking import Future
from cortex_actors.kit.cell import Cell
from cortex_actors.kit.errors import UnhandledMessage
from cortex_actors.kit.handlers import HandlerTable, find_handler, handler_table
from cortex_actors.kit.inbox import DEFAULT_LIMIT, Inbox
from cortex_actors.kit.loop import ActorLoop, Resume
from cortex_actors.kit.monitor import Monitor
from cortex_actors.kit.reasons import NORMAL, ExitReason
from cortex_actors.kit.ref import ActorRef

T = TypeVar("T")

# Untyped because our hooks take and return more than pykka's of the same name. Only pykka's loop
# would call those without, and it never runs.
_ThreadingActor: Any = pykka.ThreadingActor


class SupervisedActor(_ThreadingActor):  # type: ignore[misc]
    """Base of all actors. Subclasses mark handlers with ``@handles(MessageType)``.

    Everything but the constructor and ``summary`` runs on the actor's own thread, so it needs no
    locks: nothing else touches its state.
    """

    use_daemon_thread: ClassVar[bool] = True  # a fenced actor must not keep the process alive
    mailbox_limit: ClassVar[int] = DEFAULT_LIMIT
    _handlers: ClassVar[HandlerTable]
    _cell: Cell
    _loop: ActorLoop

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = handler_table(cls)

    @classmethod
    def start(cls, *args: Any, name: str = "", **kwargs: Any) -> ActorRef:
        """Create the actor and start its thread; ``ref.ready`` tells when ``on_start`` is through.

        It is not in pykka's registry: ``stop_all`` would go behind its supervisor's back.
        """
        actor = cls(*args, **kwargs)
        actor._embody(name or cls.__name__)
        actor._start_actor_loop()
        return actor.ref

    @property
    def ref(self) -> ActorRef:
        """The reference to give to others; there is none in the constructor yet."""
        return ActorRef(self._cell)

    def on_start(self) -> Future[Any] | None:
        """Set up, on the actor's thread. Raising means ``init_failed``.

        With a returned future the actor counts as ready when that resolves; messages are handled
        meanwhile.
        """
        return None

    def on_stop(self, reason: ExitReason) -> None:
        """Clean up, after any end but a failed ``on_start`` and before monitors are told."""

    def on_stop_request(self, reason: ExitReason) -> None:
        """React to a stop. Whoever needs time overrides this and calls ``leave`` when done."""
        self.leave(reason)

    def receive(self, message: object) -> Any:
        """Handle a message for which no handler is marked.

        Raises:
            UnhandledMessage: Always, unless overridden.
        """
        raise UnhandledMessage(self._cell.name, message)

    def summary(self) -> str:
        """Say in a few words what it is doing. Called from any thread: read, never wait."""
        return ""

    def leave(self, reason: ExitReason = NORMAL) -> None:
        """End when the current handler returns."""
        self._loop.leave(reason)

    def monitor(self, target: ActorRef) -> Monitor:
        """Have exactly one ``Down`` come when ``target`` ends; the return value is its tag."""
        return Monitor(self._cell.inbox, self._loop.dependents, target)

    def tell_later(self, delay_s: float, message: object) -> ActorTimer:
        """Have ``message`` come to this actor in ``delay_s`` seconds, unless cancelled."""
        return ActorTimer(self._cell, self._loop.dependents, delay_s, message, periodic=False)

    def tell_every(self, interval_s: float, message: object) -> ActorTimer:
        """Have ``message`` come every ``interval_s`` seconds; skips those missed while busy."""
        return ActorTimer(self._cell, self._loop.dependents, interval_s, message, periodic=True)

    def when_done(self, future: Future[T], then: Callable[[Future[T]], None]) -> None:
        """Have ``then(future)`` run on this actor's thread once the answer is there."""
        cell = self._cell
        future.on_done(lambda done: cell.notify(Resume(then, done)))

    def dispatch(self, message: object) -> Any:
        """Call the handler for this message; the loop's entry."""
        message_type = type(message)
        try:
            handler = self._handlers[message_type]
        except KeyError:
            handler = find_handler(self._handlers, message_type)
        return self.receive(message) if handler is None else handler(self, message)

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _embody(self, name: str) -> ActorLoop:
        inbox: Inbox = self.actor_inbox
        inbox.limit = self.mailbox_limit
        this = weakref.ref(self)
        self._cell = Cell(
            name, type(self).__name__, inbox, self.actor_stopped, lambda: _summary_of(this())
        )
        self._loop = ActorLoop(self, self._cell)
        return self._loop

    def _start_actor_loop(self) -> None:
        threading.Thread(
            target=self._loop.run,
            name=f"{self._cell.name}#{self._cell.inc}",
            daemon=self.use_daemon_thread,
        ).start()


def _summary_of(actor: SupervisedActor | None) -> str:
    if actor is None:
        return ""
    try:
        return actor.summary()
    except Exception as error:  # noqa: BLE001 - read while the actor changes; a display is at stake
        return f"summary failed: {error!r}"
