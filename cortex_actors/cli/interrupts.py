"""Ctrl-C for a program that has started others: the first ends all in order, the second kills."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self, final

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@final
class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt; later ones call ``kill``.

    Main thread only. While shielded the first signal waits until the shield is lifted, so that what
    is being started is always known to whoever stops it.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._raised = False
        self._shielded = False
        self._waiting = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def last_call(self) -> None:
        """From now on every signal kills; called when the orderly end has begun."""
        self._raised = True

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Hold the first signal back for the length of a block."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
            if self._waiting:
                self._interrupt()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._raised:
            self._kill()
        elif self._shielded:
            self._waiting = True
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        self._raised = True
        self._waiting = False
        raise KeyboardInterrupt
