"""Errors as Anthropic's clients know them (docs.anthropic.com, API errors)."""

from __future__ import annotations

from typing import Any, Final

from cortex_actors.dialects.api_error import ApiError

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


def error_type(error: ApiError) -> str:
    """Return the type that a client's error class is chosen by."""
    if error.status in _TYPES:
        return _TYPES[error.status]
    if error.status < 500:
        return "invalid_request_error"
    return "overloaded_error" if error.status == 503 and error.retryable else "api_error"


def envelope(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return the object that is a body, or the ``error`` event of a stream."""
    return {
        "type": "error",
        "error": {"type": error_type(error), "message": error.message},
        "request_id": request_id,
    }
