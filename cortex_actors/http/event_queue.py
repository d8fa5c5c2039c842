"""Events on their way from the reactor to the one thread that serves a request.

What waits is bounded by its text (``EventBuffer``). The descriptor lets the reader wait for events
and for its client to leave in a single poll.

Waking the reader costs more than all else that is done for an event, so it is a step of its own:
the reactor puts everything that it has got in one turn and wakes once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final, final

from cortex_actors.dialects.events import Answer, GenerationEvent, Started
from cortex_actors.http.event_buffer import EventBuffer
from transports.schemas.link import Failure

_MOST_SPARE: Final = 256

# PERF: making and closing a descriptor are two system calls that let go of the interpreter; a
# request needs neither where an earlier one has left its own.
_spare: Final[deque[int]] = deque()


@final
class EventQueue:
    """Many puts from one thread, takes from another.

    A reader that streams is woken by every event; any other acts on the last one alone.
    """

    def __init__(self, *, streamed: bool = True) -> None:
        self._streamed = streamed
        self._events = EventBuffer()
        self._fd = _descriptor()
        self._due = False
        self._signalled = False
        # SAFETY: a closed descriptor's number may be reused; the lock keeps a late put off it.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that is readable while events wait; -1 when closed."""
        return self._fd

    def put(self, event: GenerationEvent) -> bool:
        """Append an event; after ``close`` it goes nowhere.

        Returns:
            Whether ``wake`` must be called for it: the reader could act on what is there now.
            That an engine has started only goes along with the next event.
        """
        with self._lock:
            if self._fd < 0:
                return False
            self._events.put(event)
            if self._due or not self._is_acted_on(event):
                return False
            self._due = True
            return True

    def wake(self) -> None:
        """Make the descriptor readable, unless everything has been taken already."""
        with self._lock:
            self._due = False
            if self._fd >= 0 and self._events and not self._signalled:
                self._signalled = True
                os.eventfd_write(self._fd, 1)

    def take(self) -> tuple[GenerationEvent, ...]:
        """Return and remove everything that is there, in order."""
        with self._lock:
            if self._signalled:
                self._signalled = False
                os.eventfd_read(self._fd)
            return self._events.take()

    def close(self) -> None:
        """Drop what is left; idempotent."""
        with self._lock:
            if self._fd < 0:
                return
            fd, self._fd = self._fd, -1
            if self._signalled or len(_spare) >= _MOST_SPARE:
                os.close(fd)
            else:
                _spare.append(fd)
            self._signalled = False
            self._events.clear()

    def _is_acted_on(self, event: GenerationEvent) -> bool:
        if self._streamed:
            return not isinstance(event, Started)
        return isinstance(event, Answer | Failure)


def _descriptor() -> int:
    try:
        return _spare.pop()
    except IndexError:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
