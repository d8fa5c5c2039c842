"""Gunicorn's threaded worker: an end that its streams can rely on, and its share of connections."""

from __future__ import annotations

import socket
import time
from types import FrameType
from typing import Any, final

from gunicorn.workers.gthread import ThreadWorker

from cortex_actors.http.accept_share import AcceptRule, AcceptShare


@final
class FrontEndWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """On SIGTERM, running generations are given some time and then end with an error event.

    Without that, a stream longer than the graceful timeout would be cut without a word.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seat: int | None = None
        self._share: AcceptShare | None = None
        self._rule = AcceptRule()

    def join_others(self, share: AcceptShare, seat: int) -> None:
        """Take a seat among the workers. In the arbiter, before the fork."""
        self._share = share
        self.seat = seat

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection unless it is another worker's turn; the main loop asks again."""
        if self._share is not None and self.seat is not None:
            least = self._share.least_of_others(self.seat)
            if not self._rule.takes(self.nr_conns, least, time.monotonic()):
                return
        super().accept(listener)

    def notify(self) -> None:
        """Show that the main loop turns, and how many connections there are."""
        super().notify()
        if self._share is not None and self.seat is not None and self.alive:
            self._share.tell(self.seat, self.nr_conns)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. Runs as a signal handler, so the rest is left to the main loop."""
        if self._share is not None and self.seat is not None:
            self._share.leave(self.seat)
        super().handle_exit(sig, frame)
        self.method_queue.defer(self.app.drain)
