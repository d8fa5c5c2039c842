"""Telling askers that a text goes on though nothing of it can be seen for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, final

from transports.link import IncomingRequest
from transports.loop import Loop
from transports.schemas.generate import StillRunning

INTERVAL_S: Final = 10.0


@final
class StillRunningNotes:
    """Sends a note every 10 s for each of the requests that ``silent`` returns. Engine's thread.

    Whoever asked can tell by them a text that waits its turn from one that its engine has lost.
    """

    def __init__(self, loop: Loop, silent: Callable[[], Iterable[IncomingRequest]]) -> None:
        self._loop = loop
        self._silent = silent
        self._armed = False

    def arm(self) -> None:
        """Something runs: look again in 10 s."""
        if not self._armed:
            self._armed = True
            self._loop.call_later(INTERVAL_S, self._tell)

    def _tell(self) -> None:
        self._armed = False
        for request in self._silent():
            request.progress(StillRunning())
