"""Where commands and frames wait when they cannot go on at once. Both are bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, final

from transports.errors import LinkDown
from transports.loop import Loop, Port

COMMANDS = 1024
MESSAGES = 4096
_RETRY_S = 0.002
_LAST_WORDS_S = 0.02


@final
class Commands:
    """Runs a link's commands on the loop's thread, in order, whoever gives them."""

    __slots__ = ("_call_soon", "_due", "_on_thread", "waiting")

    def __init__(self, loop: Loop) -> None:
        self._call_soon = loop.call_soon
        self._on_thread = loop.on_thread
        self.waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """What could not be run at once."""
        self._due = False

    @property
    def is_full(self) -> bool:
        """Whether users should be turned away."""
        return len(self.waiting) >= COMMANDS

    def run(self, command: Callable[..., None], *args: Any) -> None:
        """Run ``command(*args)`` at once on the loop's thread, else soon."""
        if self.may_run():
            command(*args)
        else:
            self.post(command, args)

    def may_run(self) -> bool:
        """Return whether the caller may run its command itself, all earlier ones having run."""
        if self._on_thread():
            if self.waiting:
                self._run_waiting()
            return True
        return False

    def post(self, command: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Have ``command(*args)`` run soon."""
        self.waiting.append((command, args))
        if not self._due:
            self._due = True
            self._call_soon(self._run_waiting)

    def _run_waiting(self) -> None:
        # SAFETY: cleared before the queue is emptied, so that a command appended from now on
        # either is run here or schedules another run.
        self._due = False
        waiting = self.waiting
        while waiting:
            command, args = waiting.popleft()
            command(*args)


@final
class Outbox:
    """Sends a link's messages in order; those the port has no room for are tried again."""

    __slots__ = ("_gone", "_loop", "_on_lost", "_port", "_send", "waiting")

    def __init__(self, loop: Loop, port: Port, on_lost: Callable[[str, str], None]) -> None:
        self._loop = loop
        self._port = port
        self._send = port.send
        self._on_lost = on_lost
        self.waiting: deque[list[bytes]] = deque()
        """What the port had no room for."""
        self._gone = False

    @property
    def is_full(self) -> bool:
        """Whether the peer is not taking what we send."""
        return bool(self.waiting)

    def send(self, frames: list[bytes]) -> None:
        """Send a message, or keep it until there is room."""
        if self._gone:
            return
        try:
            if not self.waiting and self._send(frames):
                return
        except LinkDown as ex:
            self._unreachable(str(ex))
            return
        if not self.waiting:
            self._loop.call_later(_RETRY_S, self._retry)
        self.waiting.append(frames)
        if len(self.waiting) > MESSAGES:
            self._on_lost("overrun", f"{MESSAGES} messages wait for a peer that does not read")

    def close(self) -> None:
        """Forget what waits and close the port."""
        self.waiting.clear()
        self._port.close()

    def _retry(self) -> None:
        try:
            while self.waiting and self._send(self.waiting[0]):
                self.waiting.popleft()
        except LinkDown as ex:
            self._unreachable(str(ex))
        if self.waiting:
            self._loop.call_later(_RETRY_S, self._retry)

    def _unreachable(self, why: str) -> None:
        # The peer's last words may still be unread (semantics 5.5, the final drain); when they
        # include a GOODBYE, that ends the link first.
        self._gone = True
        self.waiting.clear()
        self._loop.call_later(_LAST_WORDS_S, lambda: self._on_lost("unreachable", why))
