"""The OpenAPI document says what is there: no route more or less, no reference to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import falcon.testing
import msgspec
import pytest

from cortex_actors.http.app import create_gateway_app, gateway_routes, neuron_routes
from cortex_actors.http.openapi import document
from cortex_actors.http.operations import (
    CLIENT_OPERATIONS,
    GATEWAY_OPERATIONS,
    NEURON_OPERATIONS,
    Operation,
)
from tests.unit.http.doubles import ScriptedBackend

DOCUMENT = msgspec.to_builtins(document("1.2.3", GATEWAY_OPERATIONS))
DAEMONS = pytest.mark.parametrize(
    ("routes", "operations"),
    [(gateway_routes, GATEWAY_OPERATIONS), (neuron_routes, NEURON_OPERATIONS)],
)


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


@DAEMONS
def test_no_route_or_verb_is_missing_or_made_up(
    routes: Any, operations: tuple[Operation, ...]
) -> None:
    served = {
        (path.replace(":path}", "}"), name.removeprefix("on_"))
        for path, resource in routes(ScriptedBackend(), 1, None).items()
        for name in dir(resource)
        if name.startswith("on_")
    }
    assert {(each.path, each.verb) for each in operations} == served
    assert len(operations) == len(served)


def has_fields(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a schema says which fields an object has; each of them if it is of several."""
    match schema:
        case {"$ref": str(reference)}:
            return has_fields(schemas[reference.rpartition("/")[2]], schemas)
        case {"anyOf": [*either]}:
            return all(has_fields(each, schemas) for each in either)
        case _:
            return bool(schema.get("properties"))


@DAEMONS
def test_every_answer_in_json_has_a_schema(routes: Any, operations: tuple[Operation, ...]) -> None:
    del routes
    described = msgspec.to_builtins(document("1.2.3", operations))
    schemas = described["components"]["schemas"]
    seen = set()
    for path, verbs in described["paths"].items():
        for verb, operation in verbs.items():
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == "application/json":
                        assert has_fields(content["schema"], schemas), (path, verb, status)
                        seen.add((path, verb))
    plain = [each for each in operations if each.content_type != "application/json"]
    assert {each.path for each in plain if each.verb != "head"} <= {"/metrics"}
    assert seen >= {(each.path, each.verb) for each in operations if each not in plain}


def test_an_answer_that_no_type_is_declared_for_is_noticed() -> None:
    bare = Operation("/new", "get", "Do something new.", dict[str, Any], fails=False)
    (described,) = document("1", (bare,)).paths["/new"]["get"]["responses"].values()
    assert not has_fields(described["content"]["application/json"]["schema"], {})
    with pytest.raises(ValueError, match="/new"):
        document("1", (Operation("/new", "get", "Do something new."),))


@pytest.mark.parametrize(
    "operation", CLIENT_OPERATIONS, ids=lambda each: f"{each.verb} {each.path}"
)
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
    for operation in CLIENT_OPERATIONS:
        if operation.body is None:
            continue
        schema = DOCUMENT["components"]["schemas"][operation.body.__name__]
        answer = client().simulate_post(operation.path, json={})
        assert answer.status_code == 400
        assert "model" in schema["required"]


def test_a_chats_content_may_be_text_or_parts() -> None:
    message = DOCUMENT["components"]["schemas"]["ChatMessage"]["properties"]["content"]
    assert {each.get("type") for each in message["anyOf"]} == {"string", "null", "array"}
