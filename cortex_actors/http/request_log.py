"""The outermost WSGI layer: a request id on every response and one log line per request.

It sits outside Falcon because only here is it known when the last byte of a stream is gone.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Self, final

from cortex_actors.http.finished_request import FinishedRequest
from cortex_actors.http.log_line import log_line
from cortex_actors.http.request_record import RECORD, RequestRecord
from transports.clock import Clock, MonotonicClock

_LOG = logging.getLogger("cortex.http")

REQUEST_ID = "cortex.request_id"
"""Key of the request's id in the WSGI environ."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Trace = Callable[[FinishedRequest], None]

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def accept_request_id(offered: str | None) -> str:
    """Return the client's id when it is short and harmless in logs, else a fresh one."""
    if offered is not None and _SANE.fullmatch(offered):
        return offered
    # PERF: unique, which is all that it must be, and without a system call.
    return f"req-{random.getrandbits(96):024x}"


@final
class _LoggedBody:
    """Passes the body through and reports once, when the server closes it."""

    def __init__(self, body: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._body = body
        self._pieces: Iterator[bytes] = iter(body)
        self._on_close = on_close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    @property
    def is_over(self) -> bool:
        """Whether the body has said that nothing more will come."""
        return getattr(self._body, "is_over", False)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._on_close()


NO_STATUS: Final = "-"
NO_ROUTE: Final = "other"
"""What a response counts under whose path has no route."""

_POLLED = frozenset(
    {"/health", "/ready", "/metrics", "/admin/status", "/discovery", "/debug/actors"}
)
"""What machines ask every second, and nobody wants to read about."""


@final
class RequestLog:
    """WSGI middleware; call it from any thread.

    ``count`` is told the route and status of each request, ``trace`` of each that is no polling.
    """

    def __init__(
        self,
        app: WsgiApp,
        count: Callable[[str, str], None],
        trace: Trace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._count = count
        self._trace = trace
        self._clock = clock or MonotonicClock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request; the log line is written when the server closes the body."""
        started = self._clock.now()
        request_id = accept_request_id(environ.get("HTTP_X_REQUEST_ID"))
        environ[REQUEST_ID] = request_id
        environ[RECORD] = record = RequestRecord(request_id)
        status = NO_STATUS

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = line.partition(" ")[0]
            # Anthropic's clients look for the second.
            ids = [("x-request-id", request_id), ("request-id", request_id)]
            return start_response(line, [*headers, *ids], *rest)

        def report() -> None:
            record.closed()
            if status != NO_STATUS:
                self._count(record.route or NO_ROUTE, status)
            request = FinishedRequest(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ.get("REMOTE_ADDR", ""),
                status,
                self._clock.now() - started,
                record,
                environ.get("HTTP_TRACEPARENT", ""),
                environ.get("HTTP_TRACESTATE", ""),
            )
            self._tell(request)

        return _LoggedBody(self._app(environ, start), report)

    def _tell(self, request: FinishedRequest) -> None:
        polled = request.path in _POLLED
        level = logging.DEBUG if polled else logging.INFO
        if _LOG.isEnabledFor(level):
            _LOG.log(level, "%s", _line(request))
        if self._trace is not None and not polled:
            self._trace(request)


def _line(request: FinishedRequest) -> str:
    record = request.record
    fields = {
        "id": record.request_id,
        "client": request.client,
        "key": record.principal,
        "method": request.method,
        "path": request.path,
        "status": request.status,
        "duration_ms": request.duration_s * 1e3,
        "model": record.model or record.asked_model,
        "neuron": record.neuron,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        "reasoning_tokens": record.reasoning_tokens,
        "ttft_ms": record.first_token_s * 1e3 if record.first_token_s else None,
        "finish": record.finish,
        "error": record.error,
    }
    return log_line("request", fields)
