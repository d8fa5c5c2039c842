from __future__ import annotations

import logging
import struct
from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.events import Embedded, Started
from cortex_actors.http.app import create_gateway_app
from cortex_actors.http.ignored_fields import IGNORED_FIELDS, MAX_NAMED
from tests.unit.http.doubles import MODEL, ScriptedBackend

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
}


def post(path: str, **more: Any) -> testing.Result:
    client = testing.TestClient(create_gateway_app(ScriptedBackend()))
    result = client.simulate_post(path, json={"model": MODEL, **BODIES[path], **more})
    assert result.status_code == 200
    return result


@pytest.fixture
def _debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cortex.http")


@pytest.mark.usefixtures("_debug")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_fields_without_effect_are_named(path: str, streamed: bool) -> None:
    result = post(path, stream=streamed, frobnicate=1, ünknown={"a": 1})
    assert result.headers[IGNORED_FIELDS] == "frobnicate, %C3%BCnknown"


@pytest.mark.usefixtures("_debug")
@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        (
            "/v1/chat/completions",
            {"stream_options": {"include_usage": True, "zzz": 1}, "user": "me"},
            "stream_options.zzz, user",
        ),
        (
            "/v1/chat/completions",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"a": 1}, "b": 1},
                }
            },
            "response_format.json_schema.b",
        ),
        ("/v1/completions", {"user": None, "stream_options": {"x": 1}}, "stream_options.x"),
        (
            "/v1/responses",
            {"text": {"nonsense": 1, "format": {"type": "text", "odd": 1}}, "max_tokens": 5},
            "text.nonsense, text.format.odd, max_tokens",
        ),
        ("/v1/responses", {"reasoning": {"summary": "auto"}, "user": "me"}, "reasoning.summary"),
        (
            "/v1/messages",
            {"thinking": {"type": "enabled", "budget_tokens": 2, "x": 1}, "metadata": {}},
            "thinking.budget_tokens, thinking.x, metadata",
        ),
    ],
)
def test_so_are_those_within_fields_and_those_that_are_only_checked(
    path: str, fields: dict[str, Any], named: str
) -> None:
    assert post(path, **fields).headers[IGNORED_FIELDS] == named


@pytest.mark.usefixtures("_debug")
def test_so_are_those_of_embeddings() -> None:
    backend = ScriptedBackend((Started(MODEL, "local"), Embedded(1, 1, struct.pack("<f", 1.0))))
    client = testing.TestClient(create_gateway_app(backend))
    body = {"model": MODEL, "input": "hi", "user": "me", "frobnicate": 1}
    result = client.simulate_post("/v1/embeddings", json=body)
    assert (result.status_code, result.headers[IGNORED_FIELDS]) == (200, "user, frobnicate")


@pytest.mark.usefixtures("_debug")
@pytest.mark.parametrize("path", BODIES)
def test_a_request_whose_fields_all_count_has_no_such_header(path: str) -> None:
    assert IGNORED_FIELDS not in post(path, temperature=0.0).headers


@pytest.mark.usefixtures("_debug")
def test_what_is_named_stays_a_header_that_clients_take() -> None:
    names = {"x\r\nset-cookie: a" + "y" * 500: 1, **{f"field{n}": n for n in range(100)}}
    header = post("/v1/chat/completions", **names).headers[IGNORED_FIELDS]
    assert header.startswith("x%0D%0Aset-cookie%3A%20a")
    assert header.count(",") == MAX_NAMED - 1
    assert len(header) < 4096


def test_at_other_levels_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cortex.http")
    assert IGNORED_FIELDS not in post("/v1/chat/completions", frobnicate=1).headers
