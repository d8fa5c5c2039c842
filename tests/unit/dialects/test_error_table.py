from __future__ import annotations

import pytest

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.error_table import ERROR_TABLE
from transports.failures import FailureCode
from transports.schemas.link import Failure


@pytest.mark.parametrize("code", list(FailureCode))
def test_every_failure_code_has_a_row(code: FailureCode) -> None:
    row = ERROR_TABLE[code]
    assert 400 <= row.status < 600
    assert row.retry_after_s is None or row.retryable


@pytest.mark.parametrize("code", list(FailureCode))
def test_the_envelope_has_the_four_openai_fields_and_the_request_id(code: FailureCode) -> None:
    failure = Failure(code, "it broke", param="model", detail={"model_id": "tiny"})
    error = ApiError.from_failure(failure).envelope("req-1")["error"]
    assert error == {
        "message": "it broke",
        "type": ERROR_TABLE[code].type,
        "param": "model",
        "code": code.value,
        "request_id": "req-1",
        "model_id": "tiny",
    }


def test_facts_cannot_replace_the_fields_of_the_envelope() -> None:
    failure = Failure("overloaded", "full", detail={"message": "forged", "type": "forged"})
    error = ApiError.from_failure(failure).envelope("req-1")["error"]
    assert error["message"] == "full"
    assert error["type"] == "rate_limit_error"


def test_an_unknown_code_is_an_internal_error() -> None:
    error = ApiError.from_failure(Failure("invented_later", "?"))
    assert (error.status, error.code) == (500, "internal")


def test_retry_after_is_the_failures_own_rounded_up() -> None:
    error = ApiError.from_failure(Failure("overloaded", "full", retry_after_s=2.1))
    assert error.headers() == {"retry-after": "3"}


def test_a_failure_that_will_repeat_tells_clients_not_to_retry() -> None:
    error = ApiError.from_failure(Failure("poisoned_request", "no", retry_after_s=1.0))
    assert error.headers() == {"x-should-retry": "false"}
