"""The two-lane mailbox of an actor (semantics 5.7).

The control lane is unbounded and served first, so a stop never waits behind a backlog. The user
lane is bounded and refuses at once when full: blocking there would let two actors that tell each
other wait for ever. Once closed it accepts nothing more and has given back all that it held.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

from pykka._envelope import Envelope

# The only way to recognise pykka's own stop; pinned below 5 in setup.cfg.
from pykka.messages import _ActorStop

from cortex_actors.kit.errors import ActorDead, MailboxFull
from cortex_actors.kit.reasons import FENCED, SHUTDOWN, ExitReason

DEFAULT_LIMIT: Final = 256
Letter = Envelope[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """Please end, for this reason."""

    reason: ExitReason


class Inbox:
    """One actor's mailbox. Any thread may put; only the actor's own thread gets.

    SAFETY: the lock makes "not closed, not full, so append" one step; it is held for a few
    bytecodes and never while calling out. Getting needs none, for there is one getter.
    """

    __slots__ = ("_closed", "_control", "_lock", "_tokens", "_user", "limit", "owner")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self.owner = "actor"
        self._lock = threading.Lock()
        self._closed = False
        self._control: deque[Letter] = deque()
        self._user: deque[Letter] = deque()
        # PERF: a C queue of Nones counts what is there; a Condition would halve the speed of tell.
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._control) + len(self._user)

    @property
    def closed(self) -> bool:
        """Whether it refuses everything, for good."""
        return self._closed

    def put(self, letter: Letter, /) -> None:
        """Accept what pykka's own ``ActorRef`` sends. Raises like ``put_user``."""
        if isinstance(letter.message, _ActorStop):
            self.put_control(Envelope(Stop(SHUTDOWN), letter.reply_to))
        else:
            self.put_user(letter)

    def put_user(self, letter: Letter) -> None:
        """Append to the user lane.

        Raises:
            ActorDead: If the inbox is closed.
            MailboxFull: If the lane is full.
        """
        with self._lock:
            if self._closed:
                raise ActorDead(self.owner)
            if len(self._user) >= self.limit:
                raise MailboxFull(self.owner, self.limit)
            self._user.append(letter)
        self._tokens.put(None)

    def put_control(self, letter: Letter) -> None:
        """Append to the control lane.

        Raises:
            ActorDead: If the inbox is closed.
        """
        self._append(self._control, letter)

    def put_in_order(self, letter: Letter) -> None:
        """Append behind all user messages accepted so far, even when that lane is full.

        Raises:
            ActorDead: If the inbox is closed.
        """
        self._append(self._user, letter)

    def get(self) -> Letter:
        """Wait for the next letter, control first. Once closed it is a ``Stop``."""
        self._tokens.get()
        for lane in (self._control, self._user):
            if lane:
                try:
                    return lane.popleft()
                except IndexError:  # closed by another thread in between
                    break
        return Envelope(Stop(FENCED))

    def empty(self) -> bool:
        """Whether a ``get`` would wait."""
        return self._tokens.empty()

    def close(self) -> list[Letter]:
        """Refuse everything from now on; return what had been accepted but not taken."""
        with self._lock:
            self._closed = True
            left = [*self._take_all(self._control), *self._take_all(self._user)]
        self._tokens.put(None)
        return left

    def _append(self, lane: deque[Letter], letter: Letter) -> None:
        with self._lock:
            if self._closed:
                raise ActorDead(self.owner)
            lane.append(letter)
        self._tokens.put(None)

    @staticmethod
    def _take_all(lane: deque[Letter]) -> list[Letter]:
        taken: list[Letter] = []
        while lane:
            try:
                taken.append(lane.popleft())
            except IndexError:  # the actor's thread took the last one
                break
        return taken
