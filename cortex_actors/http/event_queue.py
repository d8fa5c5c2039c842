"""Events on their way from the reactor to the one thread that serves a request.

Bounded: when the reader lags, neighbouring text is merged, so a slow client costs no more memory
than the text it has not read. The descriptor lets the reader wait for events and for its client
to leave in a single poll.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final, final

from cortex_actors.dialects.events import GenerationEvent
from transports.schemas.fleet import ModelState
from transports.schemas.generate import TextDelta

LIMIT: Final = 64


@final
class EventQueue:
    """Many puts from one thread, takes from another."""

    def __init__(self) -> None:
        self._events: deque[GenerationEvent] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # SAFETY: a closed descriptor's number may be reused; the lock keeps a late put off it.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that is readable while events wait; -1 when closed."""
        return self._fd

    def put(self, event: GenerationEvent) -> None:
        """Append an event; after ``close`` it goes nowhere."""
        with self._lock:
            if self._fd < 0:
                return
            self._store(event)
            os.eventfd_write(self._fd, 1)

    def take(self) -> tuple[GenerationEvent, ...]:
        """Return and remove everything that is there, in order."""
        with self._lock:
            if not self._events:
                return ()
            os.eventfd_read(self._fd)
            events = tuple(self._events)
            self._events.clear()
            return events

    def close(self) -> None:
        """Drop what is left; idempotent."""
        with self._lock:
            if self._fd < 0:
                return
            os.close(self._fd)
            self._fd = -1
            self._events.clear()

    def _store(self, event: GenerationEvent) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(event, ModelState) and isinstance(last, ModelState):
            self._events[-1] = event
        elif (
            len(self._events) >= LIMIT
            and isinstance(event, TextDelta)
            and isinstance(last, TextDelta)
        ):
            self._events[-1] = TextDelta(
                text=last.text + event.text,
                index=last.index,
                tokens=last.tokens + event.tokens,
            )
        else:
            self._events.append(event)
