"""Gunicorn's threaded worker, with an end that its streams can rely on."""

from __future__ import annotations

from types import FrameType
from typing import final

from gunicorn.workers.gthread import ThreadWorker


@final
class FrontEndWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """On SIGTERM, running generations are given some time and then end with an error event.

    Without that, a stream longer than the graceful timeout would be cut without a word.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. Runs as a signal handler, so the rest is left to the main loop."""
        super().handle_exit(sig, frame)
        self.method_queue.defer(self.app.drain)
