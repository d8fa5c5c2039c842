"""Every failure code's HTTP status and OpenAI words: one closed table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from transports.failures import FailureCode

INVALID_REQUEST_ERROR = "invalid_request_error"
RATE_LIMIT_ERROR = "rate_limit_error"
API_ERROR = "api_error"

CLIENT_CLOSED_REQUEST = 499
"""nginx's word for a request whose client left; nobody reads the response, the log does."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How one failure code looks over HTTP.

    ``retry_after_s`` is the default when the failure names none; None sends no Retry-After.
    """

    status: int
    type: str
    retryable: bool = False
    retry_after_s: float | None = None


ERROR_TABLE: Mapping[FailureCode, ErrorRow] = MappingProxyType(
    {
        FailureCode.INVALID_REQUEST: ErrorRow(400, INVALID_REQUEST_ERROR),
        FailureCode.MODEL_NOT_FOUND: ErrorRow(404, INVALID_REQUEST_ERROR),
        FailureCode.CONTEXT_LENGTH_EXCEEDED: ErrorRow(400, INVALID_REQUEST_ERROR),
        FailureCode.OVERLOADED: ErrorRow(429, RATE_LIMIT_ERROR, True, 1.0),
        FailureCode.MODEL_UNAVAILABLE: ErrorRow(503, API_ERROR, True, 2.0),
        FailureCode.MODEL_LOADING: ErrorRow(503, API_ERROR, True, 5.0),
        FailureCode.LOAD_FAILED: ErrorRow(503, API_ERROR),
        FailureCode.INSUFFICIENT_DEVICES: ErrorRow(503, API_ERROR),
        FailureCode.DEVICE_LOST: ErrorRow(503, API_ERROR, True, 5.0),
        FailureCode.SOURCE_NOT_FOUND: ErrorRow(503, API_ERROR),
        FailureCode.SOURCE_CORRUPT: ErrorRow(503, API_ERROR),
        FailureCode.NO_DISK_SPACE: ErrorRow(507, API_ERROR),
        FailureCode.SHUTTING_DOWN: ErrorRow(503, API_ERROR, True, 5.0),
        FailureCode.DEADLINE_EXCEEDED: ErrorRow(504, API_ERROR, True),
        FailureCode.CANCELLED: ErrorRow(CLIENT_CLOSED_REQUEST, API_ERROR),
        FailureCode.WORKER_DIED: ErrorRow(502, API_ERROR, True, 1.0),
        FailureCode.STEP_FAILED: ErrorRow(500, API_ERROR),
        FailureCode.OUT_OF_MEMORY: ErrorRow(503, API_ERROR, True, 1.0),
        FailureCode.POISONED_REQUEST: ErrorRow(500, API_ERROR),
        FailureCode.LINK_LOST: ErrorRow(502, API_ERROR, True, 1.0),
        FailureCode.INTERNAL: ErrorRow(500, API_ERROR),
    }
)


def row_of(code: str) -> tuple[FailureCode, ErrorRow]:
    """Return the row of ``code``; a word that this build does not know is INTERNAL."""
    known = FailureCode(code) if code in ERROR_TABLE else FailureCode.INTERNAL
    return known, ERROR_TABLE[known]
