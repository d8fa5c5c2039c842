"""How everyone else sees an actor."""

from __future__ import annotations

from typing import Any, final

from pykka._envelope import Envelope

from cortex_actors.kit.asking import Future
from cortex_actors.kit.cell import Cell
from cortex_actors.kit.errors import ActorDead, ActorError, AskTimeout
from cortex_actors.kit.inbox import Stop
from cortex_actors.kit.reasons import SHUTDOWN, ExitReason
from cortex_actors.kit.timers import TIMERS


@final
class ActorRef:
    """One incarnation of one actor. All methods may be called from any thread.

    A reference never comes to mean the actor's successor: after a restart there is a new one.
    """

    __slots__ = ("_cell", "_inbox", "inc", "name")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._inbox = cell.inbox
        self.name = cell.name
        self.inc = cell.inc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self._cell is other._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    def __repr__(self) -> str:
        return f"<ActorRef {self.name}#{self.inc} {self._cell.state}>"

    def tell(self, message: object) -> None:
        """Send a message.

        Raises:
            ActorDead: If the actor has ended.
            MailboxFull: If it has too much to do.
        """
        self._inbox.put_user(Envelope(message))

    def tell_control(self, message: object) -> None:
        """Send one of the few messages that must not wait behind a backlog, such as a death notice.

        Raises:
            ActorDead: If the actor has ended.
        """
        self._inbox.put_control(Envelope(message))

    def notify(self, message: object) -> None:
        """Like ``tell_control``, for news that a dead actor need not hear."""
        self._cell.notify(message)

    def ask(self, message: object, deadline_s: float) -> Any:
        """Send a question and wait for its answer, up to ``deadline_s`` seconds.

        Raises:
            ActorDead: If the actor has ended or ends before it answers; at once.
            ActorCrashed: If it ended because of this question.
            AskTimeout: If there is no answer in time. It may still come; nobody will see it.
            MailboxFull: If the actor has too much to do.
            ExpectedError: If the actor refused.
        """
        future: Future[Any] = Future()
        self._inbox.put_user(Envelope(message, future))
        if not future.wait(deadline_s):
            future.fail(self._timeout(message, deadline_s))
        return future.result()

    def ask_async(self, message: object, deadline_s: float) -> Future[Any]:
        """Send a question; never raises, for all that ``ask`` raises is the future's error."""
        future: Future[Any] = Future()
        try:
            self._inbox.put_user(Envelope(message, future))
        except ActorError as error:
            future.fail(error)
            return future
        timer = TIMERS.after(
            deadline_s, lambda: _expire(future, self._timeout(message, deadline_s))
        )
        future.on_done(lambda _: timer.cancel())
        return future

    def stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """Ask the actor to end, ahead of its backlog; ``exit`` tells when it has."""
        self._cell.notify(Stop(reason))

    def fence(self) -> bool:
        """Declare it dead though its thread is stuck; see ``Cell.fence``."""
        return self._cell.fence()

    @property
    def ready(self) -> Future[None]:
        """Resolved when ``on_start`` is through; ``ActorDead`` when it did not get there."""
        return self._cell.ready

    @property
    def exit(self) -> Future[ExitReason]:
        """Resolved with the reason when the actor has ended."""
        return self._cell.exit

    @property
    def alive(self) -> bool:
        """Whether it accepts messages."""
        return not self._inbox.closed

    @property
    def kind(self) -> str:
        """The actor's class name."""
        return self._cell.kind

    @property
    def state(self) -> str:
        """One of starting, running, stopping, stopped."""
        return self._cell.state

    @property
    def mailbox(self) -> int:
        """How many messages wait."""
        return len(self._inbox)

    @property
    def handled(self) -> int:
        """How many messages it has handled."""
        return self._cell.handled

    def summary(self) -> str:
        """What the actor says about itself, read without waiting for it."""
        return self._cell.summary()

    def require_alive(self) -> None:
        """Raise ``ActorDead`` if it has ended."""
        if not self.alive:
            reason = self.exit.result() if self.exit.done else None
            raise ActorDead(self.name, reason)

    def _timeout(self, message: object, deadline_s: float) -> AskTimeout:
        return AskTimeout(
            f"{self.name} did not answer {type(message).__name__} within {deadline_s} s"
        )


def _expire(future: Future[Any], error: AskTimeout) -> None:
    future.fail(error)
