from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.events import Started
from cortex_actors.http.app import create_gateway_app
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.schemas.generate import Generate, TextDelta
from transports.schemas.link import Failure

URL = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


def client(backend: ScriptedBackend, limit: int = 1024) -> testing.TestClient:
    return testing.TestClient(create_gateway_app(backend, body_limit=limit))


def post(backend: ScriptedBackend, **fields: Any) -> testing.Result:
    return client(backend).simulate_post(URL, json={**BODY, **fields})


def test_a_whole_completion() -> None:
    backend = ScriptedBackend()
    result = post(backend)
    assert result.status_code == 200
    assert result.json["choices"][0]["message"]["content"] == "Hello"
    assert result.json["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert backend.generations[0].closed


def test_a_streamed_completion() -> None:
    backend = ScriptedBackend()
    result = post(backend, stream=True, stream_options={"include_usage": True})
    assert result.headers["content-type"].startswith("text/event-stream")
    assert result.headers["cache-control"] == "no-cache"
    assert result.text.endswith("data: [DONE]\n\n")
    assert backend.generations[0].closed


def test_each_completion_has_an_id_of_its_own_even_when_the_request_id_repeats() -> None:
    backend = ScriptedBackend()
    for _ in range(2):
        client(backend).simulate_post(URL, json=BODY, headers={"x-request-id": "again"})
    ids = [q.request_id for q in backend.questions if isinstance(q, Generate)]
    assert len(set(ids)) == 2
    assert all(id_.startswith("again.") for id_ in ids)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("code", "status"),
    [("model_not_found", 404), ("overloaded", 429), ("model_loading", 503), ("internal", 500)],
)
def test_a_refusal_has_its_status_streamed_or_not(code: str, status: int, stream: bool) -> None:
    backend = ScriptedBackend([Started(MODEL, "local"), Failure(code, "sorry", param="model")])
    result = post(backend, stream=stream)
    assert result.status_code == status
    assert result.json["error"]["code"] == code
    assert result.json["error"]["param"] == "model"
    assert backend.generations[0].closed


def test_no_free_slot_is_an_immediate_refusal() -> None:
    backend = ScriptedBackend()
    backend.refusal = Failure("overloaded", "full")
    result = post(backend)
    assert result.status_code == 429
    assert result.headers["retry-after"] == "1"


def test_a_failure_after_text_is_told_inside_the_stream() -> None:
    backend = ScriptedBackend([TextDelta("a", 0), Failure("worker_died", "gone")])
    result = post(backend, stream=True)
    assert result.status_code == 200
    last = result.text.rstrip("\n").split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "worker_died"


@pytest.mark.parametrize("stream", [True, False])
def test_what_the_template_refuses_is_a_bad_request_that_names_it(stream: bool) -> None:
    refusal = Failure("invalid_request", "tools: not supported", param="tools")
    result = post(ScriptedBackend([Started(MODEL, "local"), refusal]), stream=stream)
    assert (result.status_code, result.json["error"]["param"]) == (400, "tools")


def test_a_bad_field_is_named_and_nothing_is_asked() -> None:
    backend = ScriptedBackend()
    result = post(backend, temperature=3)
    assert result.status_code == 400
    assert result.json["error"]["param"] == "temperature"
    assert backend.questions == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_json"),
        (b"", {}, 400, "malformed_json"),
        (b'{"model": "\xff"}', {}, 400, "malformed_json"),
        (b'{"model": "\\ud800"}', {}, 400, "malformed_json"),
        (b'{"model": NaN}', {}, 400, "malformed_json"),
        (b"[" * 5000, {}, 400, "malformed_json"),
        (b"[]", {}, 400, "invalid_request"),
        (b"{}", {}, 400, "missing_required_parameter"),
        (b"x" * 9000, {}, 413, "body_too_large"),
        (b"model=tiny", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"\x1f\x8b", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"{}", {"content-encoding": "Identity"}, 400, "missing_required_parameter"),
    ],
)
def test_a_bad_body_gets_the_envelope(
    body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    headers = {"content-type": "application/json; charset=utf-8", **headers}
    result = client(ScriptedBackend(), 8192).simulate_post(URL, body=body, headers=headers)
    assert result.status_code == status
    assert result.json["error"]["code"] == code


def test_an_unexpected_error_shows_no_traceback_and_is_logged_with_its_id(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = ScriptedBackend()

    def explode(_question: Generate, *, streamed: bool) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(backend, "generate", explode)
    with caplog.at_level(logging.ERROR, "cortex.http"):
        result = client(backend).simulate_post(URL, json=BODY, headers={"x-request-id": "id-7"})
    assert result.status_code == 500
    assert result.json["error"]["code"] == "internal"
    assert "secret" not in result.text
    assert "Traceback" not in result.text
    assert "id-7" in caplog.text
    assert "ZeroDivisionError" in caplog.text
