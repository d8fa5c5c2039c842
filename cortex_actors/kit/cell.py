"""What an actor's thread shares with everyone who holds a reference to it.

It makes one promise: once the actor is dead, by whatever cause and seen from whatever thread,
every question ever accepted is answered and the exit reason is known, exactly once.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, final

from pykka._envelope import Envelope

from cortex_actors.kit.asking import Future
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.inbox import Inbox
from cortex_actors.kit.reasons import FENCED, ExitReason

_log = logging.getLogger("cortex.actors")
_incs: Final = itertools.count(1)


@final
class Cell:
    """The shared part of one actor incarnation."""

    def __init__(
        self,
        name: str,
        kind: str,
        inbox: Inbox,
        stopped: threading.Event,
        summary: Callable[[], str],
    ) -> None:
        self.name = name
        self.kind = kind
        self.inc = next(_incs)
        self.inbox = inbox
        self.ready: Future[None] = Future()
        self.exit: Future[ExitReason] = Future()
        self.handled = 0
        self.summary = summary
        # Replies that the actor owes: the one it works on and those it has deferred.
        self.owed: set[Future[Any]] = set()
        self._stopped = stopped
        inbox.owner = name

    @property
    def state(self) -> str:
        """One of starting, running, stopping, stopped."""
        if self.exit.done:
            return "stopped"
        if self.inbox.closed:
            return "stopping"
        return "running" if self.ready.done else "starting"

    def notify(self, message: object) -> None:
        """Put a message in the control lane; a dead actor does not mind."""
        try:  # noqa: SIM105 - PERF: suppress() takes as long as all the rest
            self.inbox.put_control(Envelope(message))
        except ActorDead:
            pass

    def refuse_all(self, reason: ExitReason) -> None:
        """Accept nothing more and answer all that is open with ``ActorDead``."""
        left = self.inbox.close()
        error = ActorDead(self.name, reason)
        for letter in left:
            reply: Any = letter.reply_to
            if reply is not None:
                reply.fail(error)
        while self.owed:
            with suppress(KeyError):  # resolved by another thread in between
                self.owed.pop().fail(error)
        if left:
            _log.debug("event=mailbox_discarded name=%s count=%d", self.name, len(left))

    def publish(self, reason: ExitReason) -> bool:
        """Make the exit known to all monitors; returns False when it was known already."""
        self._stopped.set()
        self.ready.fail(ActorDead(self.name, reason))
        return self.exit.resolve(reason)

    def fence(self) -> bool:
        """Declare the actor dead though its thread is stuck in a handler.

        A thread cannot be killed. It can be made harmless: nobody can reach it any more, nobody
        waits for its answers, and it ends as soon as its handler returns. Returns False when its
        end was known before, or when it was not stuck after all and ended by itself meanwhile.
        """
        self.refuse_all(FENCED)
        return self.publish(FENCED)
