"""Asking the daemon one question on behalf of a request."""

from __future__ import annotations

from typing import TypeVar

from cortex_actors.http.backend import Backend, BackendError
from transports.failures import FailureCode
from transports.schemas.body import Body
from transports.schemas.link import Failure

Answer = TypeVar("Answer", bound=Body)


def ask(backend: Backend, question: Body, expected: type[Answer], deadline_s: float) -> Answer:
    """Return the daemon's answer of the expected kind.

    Raises:
        BackendError: It failed, timed out, or answered with something else.
    """
    answer = backend.ask(question, deadline_s)
    if not isinstance(answer, expected):
        message = f"the daemon answered {type(question).__name__} with {type(answer).__name__}"
        raise BackendError(Failure(FailureCode.INTERNAL, message))
    return answer
