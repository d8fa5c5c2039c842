"""What the log line of a request tells of the generation in it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from falcon import testing

from cortex_actors.dialects.events import Started
from cortex_actors.http.app import create_neuron_app
from cortex_actors.http.backend import GenerationTimes
from cortex_actors.http.request_record import RequestRecord
from tests.unit.http.doubles import MODEL, ScriptedBackend
from transports.schemas.generate import Generate, GenerateDone, TextDelta
from transports.schemas.link import Failure, GenerationFigures

BODY = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
STARTED = Started(MODEL, "local")
HEL = TextDelta("Hel", 0, (1, 2), prompt_tokens=7, cached_tokens=4)
DONE = GenerateDone("stop", prompt_tokens=7, completion_tokens=3, cached_tokens=4)
FAILED = Failure("worker_died", "gone")


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend((STARTED, HEL, DONE))


def told(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture, path: str, **fields: Any
) -> dict[str, str]:
    caplog.set_level(logging.INFO, "cortex.http")
    client = testing.TestClient(create_neuron_app(backend))
    client.simulate_post(path, json={**BODY, **fields})
    (line,) = (each for each in caplog.messages if each.startswith("request "))
    return dict(word.partition("=")[::2] for word in line.split()[1:])


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_text_that_ends_well(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture, path: str, streamed: bool
) -> None:
    line = told(backend, caplog, path, stream=streamed)
    del line["id"], line["duration_ms"]
    assert line == {
        "method": "POST",
        "path": path,
        "status": "200",
        "model": MODEL,
        "neuron": "local",
        "prompt_tokens": "7",
        "cached_tokens": "4",
        "completion_tokens": "3",
        "ttft_ms": "500.0",
        "finish": "stop",
    }
    assert backend.responses == [(path, "200")]


def test_a_stream_that_fails_tells_the_code_and_what_the_client_got(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.events = (STARTED, HEL, FAILED)
    line = told(backend, caplog, "/v1/chat/completions", stream=True)
    assert (line["status"], line["error"], line["completion_tokens"]) == ("200", "worker_died", "2")
    assert "finish" not in line


def test_a_refusal_tells_its_code_and_the_model_asked_for(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.events = (Failure("model_not_found", "no"),)
    line = told(backend, caplog, "/v1/chat/completions", model="nope")
    assert (line["status"], line["error"], line["model"]) == ("404", "model_not_found", "nope")
    assert "neuron" not in line


def test_a_body_that_is_refused_asks_no_model(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    line = told(backend, caplog, "/v1/messages", max_tokens=-1)
    assert (line["status"], line["error"]) == ("400", "invalid_value")
    assert "model" not in line


def test_a_text_that_has_not_ended_lost_its_client() -> None:
    record = RequestRecord("id")
    record.asked(Generate("id", "small", []))
    record.saw((STARTED, HEL))
    record.closed()
    assert (record.error, record.completion_tokens) == ("client_gone", 2)


def test_what_the_engine_counted_of_a_text_that_failed_is_told(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    figures = GenerationFigures(7, 4, 3, 2)
    backend.events = (STARTED, HEL, Failure("step_failed", "no", figures=figures))
    line = told(backend, caplog, "/v1/chat/completions", stream=True)
    assert (line["completion_tokens"], line["reasoning_tokens"]) == ("3", "2")


def test_of_a_text_that_ended_well_the_engines_times_count() -> None:
    record = RequestRecord("id")
    record.saw((STARTED, HEL, DONE))
    record.timed(GenerationTimes(0.1, 0.2, decode_s=1.5))
    assert record.decode_s == DONE.decode_s == 0.0


def test_of_a_text_whose_client_left_there_is_what_came() -> None:
    record = RequestRecord("id")
    record.asked(Generate("id", "small", []))
    first = TextDelta(
        "", 0, (1, 2), reasoning="x", prompt_tokens=7, cached_tokens=4, reasoning_tokens=2,
        queue_s=0.5, prefill_s=0.25,
    )  # fmt: skip
    record.saw((STARTED, first))
    record.timed(GenerationTimes(0.1, 0.2, decode_s=1.5))
    assert (record.prompt_tokens, record.cached_tokens, record.reasoning_tokens) == (7, 4, 2)
    assert (record.queue_s, record.prefill_s, record.decode_s) == (0.5, 0.25, 1.5)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/models/org/cold", "/v1/models/{model_id}"),
        ("/v1/responses/resp_1", "/v1/responses/{response_id}"),
        ("/nope", "other"),
        ("/v1/models", "/v1/models"),
    ],
)
def test_responses_are_counted_by_the_template_of_their_path(
    backend: ScriptedBackend, path: str, route: str
) -> None:
    client = testing.TestClient(create_neuron_app(backend))
    status = client.simulate_get(path).status_code
    client.simulate_put(path)
    refused = "404" if route == "other" else "405"
    assert backend.responses == [(route, str(status)), (route, refused)]
