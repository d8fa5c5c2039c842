"""Gunicorn's threaded worker: a good end for streams, its share of connections, our errors."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from http import HTTPStatus
from types import FrameType
from typing import Any, Final, final

from gunicorn import util
from gunicorn.http import RequestParser, wsgi
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from cortex_actors.http.accept_share import AcceptRule, AcceptShare
from cortex_actors.http.front_end_response import FrontEndResponse
from cortex_actors.http.log_line import log_line
from cortex_actors.http.request_log import NO_ROUTE, accept_request_id
from cortex_actors.http.server_refusals import HeadTimeout, refusal, whole_response
from cortex_actors.http.worker_settings import WorkerSettings

_LOG = logging.getLogger("cortex.http")

_STAY_S: Final = 0.02
"""How long a thread waits for the next request of its connection before the main loop does."""


@final
class FrontEndWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """On SIGTERM, running generations are given some time and then end with an error event.

    Without that, a stream longer than the graceful timeout would be cut without a word.
    """

    cfg: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cfg = WorkerSettings(self.cfg)
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
        """Serve what a connection asks one after the other. Pool's thread."""
        if conn.parser is None:
            conn.parser = _Parser(self.cfg, conn.sock, conn.client)
        kept = super().handle(conn)
        while kept is True and self._may_stay() and _asks_more(conn.sock):
            kept = super().handle(conn)
        return kept

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Serve one request; return whether the connection can go on. Pool's thread.

        Raises:
            OSError: The client left.
            StopIteration: The application failed within a response; the connection is closed.
            Exception: The application failed before it.
        """
        resp, environ = wsgi.create(
            req, conn.sock, conn.client, conn.server, self.cfg, response_class=FrontEndResponse
        )
        environ["wsgi.multithread"] = True
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            resp.force_close()
        try:
            body = self.wsgi(environ, resp.start_response)
            with contextlib.closing(body):
                for piece in body:
                    if getattr(body, "is_over", False):
                        resp.hold()
                    resp.write(piece)
                resp.close()
        except OSError:
            raise
        except Exception:
            if not resp.headers_sent:
                raise
            _LOG.exception("response_failed path=%s", req.path)
            util.close_graceful(conn.sock)
            raise StopIteration from None
        return not resp.should_close()

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
        path = getattr(req or getattr(exc, "read_so_far", None), "path", None) or ""
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

    def _may_stay(self) -> bool:
        # PERF: through the main loop the next request costs two thread switches and four system
        # calls more. As long as there is a thread for each connection, nobody waits for this one.
        return bool(self.alive and self.nr_conns <= self.cfg.threads)


def _is_used_up(body: Body) -> bool:
    return isinstance(body.reader, LengthReader) and not body.reader.length and not body.failed


def _asks_more(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(_STAY_S * 1e3))


@final
class _Request(Request):  # type: ignore[misc]  # gunicorn is not typed
    """One that, when it cannot be read, says with the error how far it was."""

    def __init__(self, *arguments: Any) -> None:
        try:
            super().__init__(*arguments)
        except ParseException as ex:
            # Not ``req``: an error of the request line keeps that line there.
            ex.read_so_far = self
            raise

    def _peer_is_trusted_proxy(self) -> bool:
        # PERF: gunicorn parses the client's address for each request to compare it with a list that
        # is empty here: no answer depends on what a proxy says of its client.
        return False


@final
class _Parser(RequestParser):  # type: ignore[misc]  # gunicorn is not typed
    """Tells a client that has stalled within the head of a request from one that has left."""

    mesg_class = _Request

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Drop what the application has left of a body; return whether that could be done."""
        # PERF: bounding the time to read nothing is three system calls.
        body: Any = getattr(self.mesg, "body", None)
        if body is not None and _is_used_up(body):
            return True
        return bool(super().finish_body(deadline, max_bytes))

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except (BlockingIOError, TimeoutError) as ex:
            raise HeadTimeout from ex
