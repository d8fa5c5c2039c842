"""Telling the daemon how busy the engine is: on change, but not at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from transports.loop import Loop
from transports.schemas.daemon import EngineLoad

INTERVAL_S = 0.1


@final
class LoadReporter:
    """Sends what ``read`` returns when it has changed, at most every 100 ms. Engine's thread."""

    def __init__(
        self, loop: Loop, read: Callable[[], EngineLoad], tell: Callable[[EngineLoad], None]
    ) -> None:
        self._loop = loop
        self._read = read
        self._tell = tell
        self._told: EngineLoad | None = None
        self._waiting = False

    def changed(self) -> None:
        """Something may have changed."""
        if self._waiting or (load := self._read()) == self._told:
            return
        self._told = load
        self._waiting = True
        self._tell(load)
        self._loop.call_later(INTERVAL_S, self._again)

    def _again(self) -> None:
        self._waiting = False
        self.changed()
