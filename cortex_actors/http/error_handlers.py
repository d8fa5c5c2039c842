"""Everything that a handler may raise, written as one error envelope."""

from __future__ import annotations

import logging
from typing import Any

import falcon
import msgspec

from cortex_actors.dialects.anthropic import errors as anthropic
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.error_table import CLIENT_CLOSED_REQUEST
from cortex_actors.http.asked_dialect import asks_anthropic
from cortex_actors.http.backend import BackendError
from cortex_actors.http.client_connection import ClientGoneError
from cortex_actors.http.request_log import REQUEST_ID
from cortex_actors.http.request_record import CLIENT_GONE, RECORD, RequestRecord

_LOG = logging.getLogger("cortex.http")


def install(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Replace Falcon's own error bodies by ours."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(ApiError, _api_error)
    app.add_error_handler(BackendError, _backend_failure)
    app.add_error_handler(ClientGoneError, _client_gone)


def _write(req: falcon.Request, resp: falcon.Response, error: ApiError) -> None:
    resp.status = error.status
    resp.content_type = falcon.MEDIA_JSON
    _record(req).failed(error.code)
    request_id = req.env[REQUEST_ID]
    if asks_anthropic(req):
        resp.data = msgspec.json.encode(anthropic.envelope(error, request_id))
    else:
        resp.data = msgspec.json.encode(error.envelope(request_id))
    resp.set_headers(error.headers())


def _record(req: falcon.Request) -> RequestRecord:
    record: RequestRecord = req.env[RECORD]
    return record


def _api_error(req: falcon.Request, resp: falcon.Response, ex: ApiError, _: Any) -> None:
    _write(req, resp, ex)


def _backend_failure(req: falcon.Request, resp: falcon.Response, ex: BackendError, _: Any) -> None:
    _write(req, resp, ApiError.from_failure(ex.failure))


def _client_gone(req: falcon.Request, resp: falcon.Response, ex: ClientGoneError, _: Any) -> None:
    _LOG.debug("request id=%s client_gone=%s", req.env.get(REQUEST_ID), ex.strerror)
    _record(req).failed(CLIENT_GONE)
    resp.status = f"{CLIENT_CLOSED_REQUEST} Client Closed Request"


def _http_error(req: falcon.Request, resp: falcon.Response, ex: falcon.HTTPError, _: Any) -> None:
    target = f"{req.method} {req.path[:200]}"
    match ex:
        case falcon.HTTPNotFound():
            hint = "" if req.path.startswith("/v1/") else " (the API is under /v1)"
            error = ApiError(404, "unknown_url", f"unknown request URL: {target}{hint}")
        case falcon.HTTPMethodNotAllowed():
            error = ApiError(405, "method_not_allowed", f"not allowed: {target}")
        case _:
            message = ex.description or ex.title
            error = ApiError(ex.status_code, "invalid_request", message)
    _write(req, resp, error)
    if ex.headers:
        resp.set_headers(ex.headers)


def _unexpected(req: falcon.Request, resp: falcon.Response, ex: Exception, _: Any) -> None:
    # The shell boundary of HTTP handlers: whatever it is, the user gets no traceback, the log does.
    _LOG.error("request id=%s failed", req.env.get(REQUEST_ID), exc_info=ex)
    _write(req, resp, ApiError.internal())
