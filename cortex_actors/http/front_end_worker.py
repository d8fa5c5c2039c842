"""Gunicorn's threaded worker: a good end for streams, its share of connections, our errors."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from http import HTTPStatus
from types import FrameType
from typing import Any, final

from gunicorn.http import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

from cortex_actors.http.accept_share import AcceptRule, AcceptShare
from cortex_actors.http.log_line import log_line
from cortex_actors.http.request_log import NO_ROUTE, accept_request_id
from cortex_actors.http.server_refusals import HeadTimeout, refusal, whole_response

_LOG = logging.getLogger("cortex.http")


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

    def handle(self, conn: TConn) -> object:
        """Serve one request of a connection. Pool's thread."""
        if conn.parser is None:
            conn.parser = _Parser(self.cfg, conn.sock, conn.client)
        return super().handle(conn)

    def handle_error(
        self, req: Any, client: socket.socket, addr: tuple[str, int] | None, exc: BaseException
    ) -> None:
        """Answer a request that could not be read, or that the application failed on."""
        error, request_id = refusal(exc), accept_request_id(None)
        fields = {
            "id": request_id,
            "client": addr[0] if addr else "-",
            "status": error.status,
            "error": error.code,
            "detail": str(exc)[:200],
        }
        ours = error.status == HTTPStatus.INTERNAL_SERVER_ERROR
        level = logging.ERROR if ours else logging.INFO
        _LOG.log(level, "%s", log_line("request", fields), exc_info=exc if ours else None)
        self.app.count_response(NO_ROUTE, str(error.status))
        path = getattr(req or getattr(exc, "req", None), "path", None) or ""
        reason = HTTPStatus(error.status).phrase
        with contextlib.suppress(OSError):
            client.sendall(whole_response(error, reason, path, request_id))

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


@final
class _Parser(RequestParser):  # type: ignore[misc]  # gunicorn is not typed
    """Tells a client that has stalled within the head of a request from one that has left."""

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except (BlockingIOError, TimeoutError) as ex:
            raise HeadTimeout from ex
