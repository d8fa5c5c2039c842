"""How our processes end, in words."""

from __future__ import annotations

import pytest

from neuron_runtime.exit_codes import ExitCode, ExitKind, ExitReason, describe, exit_reason


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_exit_code_has_a_meaning(code: ExitCode) -> None:
    assert code.meaning in describe(code)


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(-9, "killed by SIGKILL"), (-250, "killed by signal 250"), (3, "exit 3")],
)
def test_a_status_is_put_into_words(returncode: int, words: str) -> None:
    assert describe(returncode) == words


@pytest.mark.parametrize(
    ("returncode", "kind"),
    [
        (0, ExitKind.NORMAL),
        (1, ExitKind.CRASHED),
        (-11, ExitKind.KILLED),
        (ExitCode.PARENT_LOST, ExitKind.PARENT_LOST),
        (ExitCode.CONFIG, ExitKind.INIT_FAILED),
        (ExitCode.LINK_LOST, ExitKind.CRASHED),
    ],
)
def test_an_exit_that_nobody_asked_for_is_named_by_its_status(
    returncode: int, kind: ExitKind
) -> None:
    assert exit_reason(returncode, None) == ExitReason(kind, returncode)


def test_an_exit_that_was_asked_for_keeps_the_reason_and_the_status() -> None:
    reason = exit_reason(-9, ExitKind.STALLED)

    assert str(reason) == "stalled (killed by SIGKILL)"
    assert not reason.normal
    assert exit_reason(-15, ExitKind.SHUTDOWN).normal
