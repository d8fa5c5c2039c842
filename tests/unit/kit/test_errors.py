from __future__ import annotations

import signal

import pytest

from cortex_actors.kit.errors import (
    ActorCrashed,
    ActorDead,
    AskTimeout,
    ExpectedError,
    MailboxFull,
)
from cortex_actors.kit.reasons import (
    FENCED,
    NOPROC,
    NORMAL,
    PARENT_LOST,
    SHUTDOWN,
    ExitReason,
)
from transports.failures import FailureCode
from transports.schemas.link import Failure


class ModelNotFound(ExpectedError):
    code = FailureCode.MODEL_NOT_FOUND


def test_an_expected_error_is_a_failure_body() -> None:
    error = ModelNotFound("no model 'x'", param="model", detail={"model": "x"})
    assert error.failure == Failure(
        code="model_not_found", message="no model 'x'", param="model", detail={"model": "x"}
    )
    assert not error.retryable


def test_a_failure_from_a_link_is_passed_on_unchanged() -> None:
    failure = Failure(code="overloaded", message="busy", retry_after_s=2.0, param="model")
    error = ExpectedError.of(failure)
    assert error.failure == failure
    assert error.retryable


def test_code_and_retryable_may_be_given_per_error() -> None:
    error = ExpectedError("later", code=FailureCode.MODEL_LOADING, retryable=True)
    assert (error.code, error.retryable) == ("model_loading", True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MailboxFull("router", 256), FailureCode.OVERLOADED),
        (AskTimeout("late"), FailureCode.DEADLINE_EXCEEDED),
        (ActorDead("router"), FailureCode.INTERNAL),
        (ActorCrashed("router", ExitReason.crash("ValueError")), FailureCode.INTERNAL),
    ],
)
def test_every_error_of_the_kit_has_a_code(
    error: MailboxFull | AskTimeout | ActorDead, code: FailureCode
) -> None:
    assert error.failure == Failure(code=code, message=str(error))


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN])
def test_orderly_endings_are_not_abnormal(reason: ExitReason) -> None:
    assert not reason.abnormal


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ExitReason.raised(ValueError("no")), "crash(ValueError: no)"),
        (ExitReason.raised(ValueError()), "crash(ValueError)"),
        (ExitReason.init_failed(OSError("disk")), "init_failed(OSError: disk)"),
        (ExitReason.killed(signal.SIGKILL), "killed(SIGKILL)"),
        (ExitReason.killed(250), "killed(250)"),
        (ExitReason.stalled("step 60 s"), "stalled(step 60 s)"),
        (ExitReason.silent("5 s"), "silent(5 s)"),
        (ExitReason.protocol("future_corr"), "protocol(future_corr)"),
        (FENCED, "fenced"),
        (PARENT_LOST, "parent_lost"),
        (NOPROC, "noproc"),
    ],
)
def test_every_other_ending_is_abnormal_and_says_why(reason: ExitReason, text: str) -> None:
    assert reason.abnormal
    assert str(reason) == text
