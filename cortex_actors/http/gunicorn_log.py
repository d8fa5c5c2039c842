"""Gunicorn's own messages, in our log and without noise."""

from __future__ import annotations

import logging
from typing import Any, final

from gunicorn.glogging import Logger


@final
class GunicornLog(Logger):  # type: ignore[misc]  # gunicorn is not typed
    """Hands warnings and errors to the root logger; no access log of its own."""

    def setup(self, cfg: Any) -> None:
        """Add no handlers and no format."""
        del cfg
        self.loglevel = logging.WARNING
        self.error_log.setLevel(logging.WARNING)
        self.error_log.propagate = True
        self.error_log.addFilter(_without_stalled_clients)

    def access(self, *_: Any) -> None:
        """Say nothing: ``RequestLog`` does."""


def _without_stalled_clients(record: logging.LogRecord) -> bool:
    # A client that stops reading or sending runs into the socket's stall limit, which gunicorn
    # takes for an error of its own and logs with a traceback.
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, BlockingIOError)
