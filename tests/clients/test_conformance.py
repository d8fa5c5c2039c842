"""``cortexd conformance`` against our own stack, which must pass in full."""

from __future__ import annotations

import json

import pytest

from cortex_actors.cli import cortexd
from cortex_actors.cli.conformance.suite import DIALECTS
from tests.clients.fleet import MODEL, ScriptedStack

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_our_own_stack_keeps_to_everything(
    stack: ScriptedStack, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cortexd.main(["conformance", stack.url, "--json", "--only", dialect])
    report = json.loads(capsys.readouterr().out)

    assert [case for case in report["cases"] if case["result"] != "pass"] == []
    assert (code, report["model"]) == (0, MODEL)


def test_a_server_that_is_not_there_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cortexd.main(["conformance", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err.startswith("cortexd: /v1/models: ConnectError")
