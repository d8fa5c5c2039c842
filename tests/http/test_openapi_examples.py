"""Requests made up from our own OpenAPI document: whatever is asked, the answer is as it says.

Left out of schemathesis's checks: that all that fits the document is accepted. It describes the
fields one by one; which of them go together, and which models and tools there are, it cannot say.
"""

from __future__ import annotations

import json
from typing import Any

import falcon.testing
import pytest
from hypothesis import HealthCheck, settings

from cortex_actors.http.app import create_gateway_app, create_neuron_app
from cortex_actors.http.operations import CLIENT_OPERATIONS, NEURON_OPERATIONS
from tests.http.answering_backend import AnsweringBackend
from tests.unit.http.doubles import HELLO, MODEL, ScriptedBackend
from transports.schemas.link import Failure

schemathesis = pytest.importorskip("schemathesis", reason="make test installs it")
jsonschema = pytest.importorskip("jsonschema_rs", reason="schemathesis needs it")

PATHS = sorted({operation.path for operation in CLIENT_OPERATIONS})
STREAMS = sorted(operation.path for operation in CLIENT_OPERATIONS if operation.event)
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


APP = create_gateway_app(AnsweringBackend())
DOCUMENT = falcon.testing.TestClient(APP).simulate_get("/openapi.json").json
COMPONENTS = DOCUMENT["components"]

OF_NEURONS = sorted({operation.path for operation in NEURON_OPERATIONS} - {*PATHS})
GATEWAY = schemathesis.openapi.from_wsgi("/openapi.json", APP)
NEURON = schemathesis.openapi.from_wsgi("/openapi.json", create_neuron_app(AnsweringBackend()))
FEW = settings(
    max_examples=5,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def check(case: Any) -> None:
    left_out = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    case.call_and_validate(excluded_checks=[left_out])


@GATEWAY.parametrize()
@FEW
def test_a_gateways_answers_are_as_the_document_says(case: Any) -> None:
    check(case)


@NEURON.include(path=OF_NEURONS).parametrize()
@FEW
def test_a_neurons_own_answers_are_as_the_document_says(case: Any) -> None:
    check(case)


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("path", STREAMS)
def test_events_of_streams_are_as_the_document_says(path: str, fails: bool) -> None:
    backend = ScriptedBackend((*HELLO[:-1], Failure("worker_died", "gone")) if fails else HELLO)
    client = falcon.testing.TestClient(create_gateway_app(backend))
    answer = client.simulate_post(path, json={"model": MODEL, "stream": True, **BODIES[path]})
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    schema = {**content["text/event-stream"]["schema"]["contentSchema"], "components": COMPONENTS}
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    assert len(lines) > 1
    validator = jsonschema.Draft202012Validator(schema)
    for line in lines:
        validator.validate(json.loads(line.removeprefix("data: ")))
    assert not validator.is_valid({"id": 1})


@pytest.mark.parametrize("path", PATHS)
def test_any_other_method_is_405_in_the_envelope(path: str) -> None:
    client = falcon.testing.TestClient(APP)
    known = {each.verb.upper() for each in CLIENT_OPERATIONS if each.path == path}
    for method in sorted(METHODS - known):
        answer = client.simulate_request(method, path.format(response_id="r", model_id="m"))
        error = answer.json["error"]
        assert answer.status_code == 405
        assert answer.headers["allow"]
        assert "not allowed" in error["message"]
