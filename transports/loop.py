"""What a channel needs from whatever drives it, and from whatever carries its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from transports.fence import DropCounters


class Cancellable(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Do not fire any more; idempotent, from any thread."""
        ...


class Loop(Protocol):
    """One thread's event loop."""

    @property
    def counters(self) -> DropCounters:
        """Where drops are counted; written by whoever has the loop's turn."""
        ...

    def now(self) -> float:
        """Return monotonic seconds. Any thread."""
        ...

    def on_thread(self) -> bool:
        """Return whether the caller may touch the loop's state directly."""
        ...

    def enter(self) -> bool:
        """Become the one who may touch the loop's state, if its thread has nothing to do now.

        Any thread but the loop's; never blocks. Then ``leave`` must follow soon, and no callback of
        a user may be called before.
        """
        ...

    def leave(self) -> None:
        """Give up what ``enter`` has given."""
        ...

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` on the loop's thread. Any thread."""
        ...

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Cancellable:
        """Run ``fn`` on the loop's thread after ``delay_s`` seconds. Any thread."""
        ...

    def callback_failed(self) -> None:
        """Hear that a user's callback has raised, which has been logged. Loop thread only."""
        ...


class Port(Protocol):
    """The way out for one connection's frames. For whoever has the loop's turn."""

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send one message whole; False if there is no room now.

        Raises:
            LinkDown: The peer cannot be reached any more.
        """
        ...

    def close(self) -> None:
        """Give up the connection; frames already sent may still go out."""
        ...
