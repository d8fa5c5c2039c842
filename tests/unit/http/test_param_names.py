"""What an engine refuses is blamed on the field that the client sent."""

from __future__ import annotations

from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.events import Started
from cortex_actors.http.app import create_gateway_app
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.schemas.link import Failure

SCHEMA = {"type": "object"}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
MESSAGES = {**CHAT, "max_tokens": 4}
FORMAT = {"type": "json_schema", "schema": SCHEMA}

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("/v1/chat/completions", CHAT, "messages", "messages"),
    ("/v1/completions", {"prompt": "hi"}, "messages", "prompt"),
    ("/v1/completions", {"prompt": "hi"}, "prompt", "prompt"),
    ("/v1/responses", {"input": "hi"}, "messages", "input"),
    ("/v1/responses", {"input": "hi"}, "max_tokens", "max_output_tokens"),
    ("/v1/responses", {"input": "hi", "text": {}}, "constraint", "text.format"),
    ("/v1/messages", MESSAGES, "messages", "messages"),
    ("/v1/messages", MESSAGES, "stop", "stop_sequences"),
    (
        "/v1/messages",
        {**MESSAGES, "output_config": {"format": FORMAT}},
        "constraint",
        "output_config.format",
    ),
    ("/v1/messages", {**MESSAGES, "output_format": FORMAT}, "constraint", "output_format"),
    ("/v1/messages/count_tokens", {**CHAT, "output_format": FORMAT}, "constraint", "output_format"),
    (
        "/v1/chat/completions",
        {**CHAT, "response_format": {"type": "json_object"}},
        "constraint",
        "response_format",
    ),
    (
        "/v1/chat/completions",
        {**CHAT, "response_format": {"type": "text"}, "guided_regex": "a"},
        "constraint",
        "guided_regex",
    ),
    (
        "/v1/completions",
        {"prompt": "hi", "structured_outputs": {"regex": "a"}},
        "constraint",
        "structured_outputs",
    ),
    ("/v1/embeddings", {"input": "hi"}, "input", "input"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "body", "field", "name"), CASES)
def test_each_api_names_its_own_field(
    path: str, body: dict[str, Any], field: str, name: str, streamed: bool
) -> None:
    failure = Failure("invalid_request", f"{field}: cannot be {field}", param=field)
    client = testing.TestClient(create_gateway_app(ScriptedBackend((Started(MODEL, ""), failure))))
    body = {**body, "model": MODEL, **({"stream": True} if streamed else {})}
    error = client.simulate_post(path, json=body).json["error"]

    assert error["message"] == f"{name}: cannot be {field}"
    assert error.get("param", name) == name


def test_a_message_that_does_not_begin_with_the_field_stays() -> None:
    """O01: and the error has the numbers."""
    facts = {"max": "2048", "prompt_tokens": "3000", "reason": "x1"}
    failure = Failure("context_length_exceeded", "too long", param="messages", detail=facts)
    client = testing.TestClient(create_gateway_app(ScriptedBackend((failure,))))
    error = client.simulate_post("/v1/responses", json={"model": MODEL, "input": "hi"}).json[
        "error"
    ]
    assert (error["param"], error["message"]) == ("input", "too long")
    assert (error["max"], error["prompt_tokens"], error["reason"]) == (2048, 3000, "x1")
