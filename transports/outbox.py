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
    """Runs a link's commands in order, whoever gives them.

    On the loop's thread at once, and on another at once too if the loop only waits. ``is_plain``
    says whether a command can do nothing now but send: it must not call a user back elsewhere.
    """

    __slots__ = ("_call_soon", "_due", "_enter", "_is_plain", "_leave", "_on_thread", "waiting")

    def __init__(self, loop: Loop, is_plain: Callable[[], bool]) -> None:
        self._call_soon = loop.call_soon
        self._enter = loop.enter
        self._is_plain = is_plain
        self._leave = loop.leave
        self._on_thread = loop.on_thread
        self.waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """What could not be run at once."""
        self._due = False

    @property
    def is_full(self) -> bool:
        """Whether users should be turned away."""
        return len(self.waiting) >= COMMANDS

    def run(self, command: Callable[..., None], *args: Any) -> None:
        """Run ``command(*args)``, which only sends, at once if that can be, else soon."""
        if self._on_thread():
            if self.waiting:
                self._run_waiting()
            command(*args)
        elif self.waiting or not self._run_here(command, args):
            # SAFETY: what waits goes first even while whoever posted it has not told the loop yet.
            self._post(command, args)

    def run_there(self, command: Callable[..., None], *args: Any) -> None:
        """Run ``command(*args)``, which may call users back, on the loop's thread."""
        if self._on_thread():
            self.run(command, *args)
        else:
            self._post(command, args)

    def _run_here(self, command: Callable[..., None], args: tuple[Any, ...]) -> bool:
        if not self._enter():
            return False
        try:
            if not self._is_plain():
                return False
            command(*args)
            return True
        finally:
            self._leave()

    def _post(self, command: Callable[..., None], args: tuple[Any, ...]) -> None:
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
    """Sends a link's messages in order; those the port has no room for are tried again.

    ``send`` is for whoever has the loop's turn; only behind what waits may it call ``on_lost``.
    """

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
