"""Reading a JSON request body: size, media type and syntax."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from gunicorn.http.errors import NoMoreData, ParseException

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.http.client_connection import ClientGoneError
from cortex_actors.http.server_refusals import refusal

DEFAULT_BODY_LIMIT = 32 * 1024 * 1024

_JSON = msgspec.json.Decoder()


def read_json(req: falcon.Request, limit: int) -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        ApiError: 415 for another media type or a content coding, 413 over ``limit`` bytes, 408 when
            the client stops sending, 400 when it is not a JSON object or comes in broken chunks.
        ClientGoneError: The client left.
    """
    media_type = (req.content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ApiError(
            415,
            "unsupported_media_type",
            f"the body must be application/json, not {media_type}",
        )
    coding = (req.get_header("content-encoding") or "identity").strip().lower()
    if coding != "identity":
        message = f"the body must be sent as it is, not with the content coding {coding}"
        raise ApiError(415, "unsupported_media_type", message)
    return _parse(_read(req, limit))


def _read(req: falcon.Request, limit: int) -> bytes:
    if (req.content_length or 0) > limit:
        raise _too_large(limit)
    # A chunked body has no Content-Length; a server that ends the input by itself says so.
    ends_itself = req.env.get("wsgi.input_terminated", False)
    stream = req.stream if ends_itself else req.bounded_stream
    try:
        body = stream.read(limit + 1)
    except (BlockingIOError, TimeoutError) as ex:
        raise ApiError(408, "request_timeout", "the body did not arrive in time") from ex
    except ParseException as ex:
        raise refusal(ex) from ex
    except NoMoreData as ex:
        raise ClientGoneError("the client left within the body") from ex
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"the body is larger than {limit} bytes")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        parsed = _JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as ex:
        raise ApiError.invalid(f"the body is not valid JSON: {ex}", None, "malformed_json") from ex
    except RecursionError as ex:
        raise ApiError.invalid("the JSON is nested too deeply", None, "malformed_json") from ex
    if not isinstance(parsed, dict):
        raise ApiError.invalid("the body must be a JSON object", None)
    return parsed
