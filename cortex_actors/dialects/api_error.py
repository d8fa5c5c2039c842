"""What a user is told when a request cannot be served: the OpenAI error envelope."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from cortex_actors.dialects.error_table import INVALID_REQUEST_ERROR, row_of
from transports.failures import FailureCode
from transports.schemas.link import Failure


class ApiError(Exception):
    """One refused or failed request, ready to be written in the envelope.

    ``extras`` go inside the error object, next to the four fields that every error has.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type: str = INVALID_REQUEST_ERROR,
        param: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        extras: Mapping[str, str | int] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.extras = extras or {}

    @classmethod
    def from_failure(cls, failure: Failure) -> Self:
        """Look up a typed failure of the control or data plane in the error table."""
        code, row = row_of(failure.code)
        retry_after_s = failure.retry_after_s if failure.retry_after_s else row.retry_after_s
        return cls(
            row.status,
            code.value,
            failure.message,
            type=row.type,
            param=failure.param,
            retryable=row.retryable,
            retry_after_s=retry_after_s if row.retryable else None,
            extras={name: _fact(value) for name, value in failure.detail.items()},
        )

    @classmethod
    def invalid(cls, message: str, param: str | None, code: str = "invalid_request") -> Self:
        """Return the 400 of a request whose field ``param`` cannot be accepted."""
        return cls(400, code, message, param=param)

    @classmethod
    def internal(cls) -> Self:
        """Return the 500 that says nothing about our insides; the log has the traceback."""
        message = "the server failed to handle this request; its log names the request id"
        return cls.from_failure(Failure(code=FailureCode.INTERNAL, message=message))

    def envelope(self, request_id: str) -> dict[str, Any]:
        """Return the JSON object that is the body, or the ``error`` event of a stream."""
        return {
            "error": {
                **self.extras,
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
                "request_id": request_id,
            }
        }

    def headers(self) -> dict[str, str]:
        """Return Retry-After, how to prove who one is, and the word not to retry a 5xx."""
        headers = {}
        if self.status == 401:
            # RFC 9110, 15.5.2
            headers["www-authenticate"] = "Bearer"
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status >= 500 and not self.retryable:
            headers["x-should-retry"] = "false"
        return headers


def _fact(value: str) -> str | int:
    """Return what a failure carries as text; numbers are numbers to clients."""
    return int(value) if value.isascii() and value.isdigit() else value
