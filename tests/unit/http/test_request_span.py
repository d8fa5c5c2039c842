from __future__ import annotations

import pytest

from cortex_actors.http.finished_request import FinishedRequest
from cortex_actors.http.request_record import RequestRecord
from cortex_actors.http.request_span import Phase, request_span


def finished(record: RequestRecord, status: str = "200") -> FinishedRequest:
    return FinishedRequest("POST", record.route, "10.0.0.7", status, 2.0, record)


def chat() -> RequestRecord:
    return RequestRecord(
        "id",
        "/v1/chat/completions",
        asked_model="small",
        model="tiny",
        neuron="blue",
        prompt_tokens=7,
        cached_tokens=0,
        completion_tokens=3,
        reasoning_tokens=2,
        lease_s=0.5,
        queue_s=0.25,
        prefill_s=0.0,
        decode_s=1.0,
        first_token_s=0.75,
        finish="stop",
    )


def test_a_chat_has_genais_names() -> None:
    span = request_span(finished(chat()))
    assert (span.name, span.first_token_s, span.error) == ("chat small", 0.75, "")
    assert span.attributes == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "client.address": "10.0.0.7",
        "cortex.request_id": "id",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "cortex",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "tiny",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "cortex.neuron": "blue",
    }


@pytest.mark.parametrize(("loaded", "first"), [(False, "lease"), (True, "load")])
def test_phases_follow_each_other_and_empty_ones_are_left_out(loaded: bool, first: str) -> None:
    record = chat()
    record.loaded = loaded
    assert request_span(finished(record)).phases == (
        Phase(first, 0.0, 0.5),
        Phase("queue", 0.5, 0.75),
        Phase("decode", 0.75, 1.75),
    )


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("/v1/completions", "text_completion small"),
        ("/v1/embeddings", "embeddings small"),
        ("/v1/messages", "chat small"),
        ("/v1/responses", "chat small"),
        ("/v1/messages/count_tokens", "POST /v1/messages/count_tokens"),
        ("", "POST"),
    ],
)
def test_names_tell_the_operation_or_the_route(route: str, name: str) -> None:
    assert request_span(finished(RequestRecord("id", route, asked_model="small"))).name == name


def test_a_request_that_is_refused_has_an_error_and_nothing_of_a_model() -> None:
    record = RequestRecord("id", "/v1/chat/completions", error="malformed_json")
    span = request_span(finished(record, "400"))
    assert (span.name, span.error) == ("POST /v1/chat/completions", "malformed_json")
    assert span.attributes["error.type"] == "malformed_json"
    assert not [name for name in span.attributes if name.startswith("gen_ai")]


def test_a_request_without_a_status_has_none() -> None:
    span = request_span(finished(chat(), "-"))
    assert "http.response.status_code" not in span.attributes
