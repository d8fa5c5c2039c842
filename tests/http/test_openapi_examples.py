"""Requests made up from our own OpenAPI document: whatever is asked, the answer is as it says.

Left out of schemathesis's checks: that all that fits the document is accepted. It describes the
fields one by one; which of them go together, and which models and tools there are, it cannot say.
"""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest
from hypothesis import HealthCheck, settings

from cortex_actors.dialects.events import Counted, Embedded, Question, Started
from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.openapi import OPERATIONS
from tests.unit.http.doubles import HELLO, MODEL, ScriptedBackend, ScriptedGeneration
from transports.schemas.generate import CountTokens, Embed

schemathesis = pytest.importorskip("schemathesis", reason="make test installs it")

PATHS = sorted({operation.path for operation in OPERATIONS})
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


class AnsweringBackend(ScriptedBackend):
    """Answers each kind of question with its kind of answer."""

    def generate(self, question: Question, *, streamed: bool = True) -> ScriptedGeneration:
        started = Started(MODEL, "local")
        match question:
            case Embed(inputs=inputs):
                self.events = (started, Embedded(1, 3, bytes(4 * len(inputs))))
            case CountTokens():
                self.events = (started, Counted(3))
            case _:
                self.events = HELLO
        return super().generate(question, streamed=streamed)


APP = create_gateway_app(AnsweringBackend())
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", APP)


@SCHEMA.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_the_document_says(case: Any) -> None:
    checks = schemathesis.checks
    case.call_and_validate(excluded_checks=[checks.CHECKS.get_one("positive_data_acceptance")])


@pytest.mark.parametrize("path", PATHS)
def test_any_other_method_is_405_in_the_envelope(path: str) -> None:
    client = falcon.testing.TestClient(APP)
    known = {each.verb.upper() for each in OPERATIONS if each.path == path}
    for method in sorted(METHODS - known):
        answer = client.simulate_request(method, path.format(response_id="r", model_id="m"))
        error = answer.json["error"]
        assert answer.status_code == 405
        assert answer.headers["allow"]
        assert "not allowed" in error["message"]
