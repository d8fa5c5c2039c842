"""The OpenAPI document says what is there: no route more or less, no reference to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import falcon.testing
import pytest

from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.openapi import OPERATIONS, document
from tests.unit.http.doubles import ScriptedBackend

DOCUMENT = document("1.2.3")
OWN = ("/admin/", "/debug/")
"""For operators, who have commands."""


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def client() -> falcon.testing.TestClient:
    return falcon.testing.TestClient(create_gateway_app(ScriptedBackend()))


def test_it_is_served() -> None:
    answer = client().simulate_get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.0"
    assert answer.json["paths"].keys() == DOCUMENT["paths"].keys()


def test_every_reference_leads_somewhere() -> None:
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    found = set(references(DOCUMENT))
    assert len(found) > 6
    assert found <= schemas


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.verb} {each.path}")
def test_what_is_answered_is_documented(operation: Any) -> None:
    described = DOCUMENT["paths"][operation.path][operation.verb]
    path = operation.path.format(response_id="resp_x", model_id="nobody")
    bodies = (b"", b"{", b"[]", b"{}", b'{"model": 1}') if operation.body else (b"",)
    for body in bodies:
        answer = client().simulate_request(operation.verb.upper(), path, body=body)
        assert str(answer.status_code) in described["responses"], (body, answer.text)
        if answer.status_code >= 400 and operation.path.startswith("/v1"):
            assert answer.json["error"]["message"]
    assert client().simulate_request("PATCH", path).status_code == 405


def test_required_fields_are_those_that_are_missed() -> None:
    for operation in OPERATIONS:
        if operation.body is None:
            continue
        schema = DOCUMENT["components"]["schemas"][operation.body.__name__]
        answer = client().simulate_post(operation.path, json={})
        assert answer.status_code == 400
        assert "model" in schema["required"]


def test_a_chats_content_may_be_text_or_parts() -> None:
    message = DOCUMENT["components"]["schemas"]["ChatMessage"]["properties"]["content"]
    assert {each.get("type") for each in message["anyOf"]} == {"string", "null", "array"}
