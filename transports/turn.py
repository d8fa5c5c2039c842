"""Whose turn it is to touch a reactor's state, and when its thread must be woken; no sockets here.

The reactor's thread has the turn while it works and gives it up while it waits for descriptors.
Then a thread with a command may take the turn and run the command itself, so that nobody is woken
for it. Four rules make that sound:

- Nobody waits for the turn but the reactor's thread. Whoever finds it taken posts instead.
- Nothing overtakes: who finds something posted declines the turn and posts behind it.
- Who gives the turn back looks at the sockets that it used, for sending may swallow the sign that
  something has arrived, and wakes the reactor if there is something to read.
- Callbacks of users run on the reactor's thread, so a command that may call one is always posted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, final

_Ready = TypeVar("_Ready")


@final
class Turn:
    """The turn of one reactor; its thread, or whoever makes it before it runs, has it first.

    ``ring`` ends the reactor's waiting, from any thread, and is remembered if it does not wait yet.
    ``look`` says, to whoever has the turn, which of the sockets used since can be read.
    """

    __slots__ = ("_lock", "_look", "_ring", "_waiting", "soon", "stopping")

    def __init__(self, ring: Callable[[], None], look: Callable[[], Sequence[int]]) -> None:
        self._ring = ring
        self._look = look
        self._lock = threading.Lock()
        self._lock.acquire()
        self._waiting = False
        self.soon: deque[Callable[[], None]] = deque()
        """What was posted, for the reactor's thread to run."""
        self.stopping = False
        """Whether the reactor is to end; nobody else gets the turn any more."""

    def post(self, fn: Callable[[], None]) -> None:
        """Have ``fn`` run on the reactor's thread. Any thread."""
        self.soon.append(fn)
        self._rouse()

    def stop(self) -> None:
        """Have the reactor end; idempotent. Any thread."""
        self.stopping = True
        self._ring()

    def enter(self) -> bool:
        """Take the turn if the reactor has nothing to do but wait; then ``leave`` must follow.

        Any thread but the reactor's. Never blocks.
        """
        if not self._lock.acquire(blocking=False):
            return False
        if self.soon or self.stopping:
            self._lock.release()
            return False
        return True

    def leave(self) -> None:
        """Give the turn back."""
        readable: Sequence[int] | bool = True
        try:
            readable = self._look()
        finally:
            self._lock.release()
            if readable:
                self._rouse()

    def wait(self, poll: Callable[[float], _Ready], wait_s: float) -> _Ready:
        """Return what ``poll`` returns, which may wait so long. The reactor's thread only."""
        # SAFETY: from here on whoever posts rings; what was posted before is seen in ``soon``.
        self._waiting = True
        if wait_s <= 0 or self.soon or self.stopping:
            ready = poll(0)
        else:
            self._lock.release()
            try:
                ready = poll(wait_s)
            finally:
                self._lock.acquire()
        self._waiting = False
        return ready

    def _rouse(self) -> None:
        # SAFETY: one ring is enough, for the reactor sees all that came before it ends its waiting.
        if self._waiting:
            self._waiting = False
            self._ring()
