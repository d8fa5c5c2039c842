"""What the HTTP server refuses by itself, in the words of our own errors. Pure."""

from __future__ import annotations

import msgspec
from gunicorn.http import errors

from cortex_actors.dialects.anthropic import errors as anthropic
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.asked_dialect import is_anthropic

_LONGEST = 200


class HeadTimeout(errors.ParseException):  # type: ignore[misc]  # gunicorn is not typed
    """The head of a request has begun and did not arrive in time."""


def refusal(why: BaseException) -> ApiError:
    """Return what a client is told whose request could not be read."""
    said = str(why)[:_LONGEST]
    match why:
        case HeadTimeout():
            error = ApiError(408, "request_timeout", "the request did not arrive in time")
        case errors.LimitRequestLine():
            error = ApiError(414, "uri_too_long", f"the request line is too long: {said}")
        case errors.LimitRequestHeaders():
            error = ApiError(431, "headers_too_large", f"the headers are too large: {said}")
        case errors.ExpectationFailed():
            error = ApiError(417, "expectation_failed", said)
        case errors.UnsupportedTransferCoding():
            error = ApiError(501, "unsupported_transfer_coding", said)
        case (
            errors.InvalidResponseHeader()
            | errors.InvalidResponseHeaderName()
            | errors.ConfigurationProblem()
        ):
            error = ApiError.internal()
        case errors.ParseException():
            error = ApiError(400, "malformed_request", f"the request is not sound HTTP: {said}")
        case _:
            error = ApiError.internal()
    return error


def whole_response(error: ApiError, reason: str, path: str, request_id: str) -> bytes:
    """Return the response that ends the connection, with its head."""
    if is_anthropic(path, None):
        body = msgspec.json.encode(anthropic.envelope(error, request_id))
    else:
        body = msgspec.json.encode(error.envelope(request_id))
    headers = {
        **error.headers(),
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": request_id,
        "request-id": request_id,
    }
    lines = (f"HTTP/1.1 {error.status} {reason}", *(f"{k}: {v}" for k, v in headers.items()))
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body
