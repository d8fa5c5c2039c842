from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.responses.responses_encoder import ResponsesEncoder
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from tests.unit.dialects.generation_events import cuttings, outputs
from tests.unit.dialects.response_client import ResponseClient
from tests.unit.dialects.streamed_dialects import RESPONSE_TOOLS
from transports.schemas.generate import (
    GenerateDone,
    TextDelta,
    ToolCallDelta,
)
from transports.schemas.link import Failure

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

Chunks = list[dict[str, Any]]


def encoder() -> ResponsesEncoder:
    body = {"model": "alias", "input": "Hi", "tools": RESPONSE_TOOLS}
    return ResponsesRequest.parse(body).encoder("req-1", 1700000000)


def streamed(events: list[GenerationEvent]) -> Chunks:
    streaming = encoder()
    return [chunk for event in events for chunk in streaming.chunks(event)]


def gathered(events: list[GenerationEvent]) -> dict[str, Any]:
    gathering = encoder()
    *before, last = [gathering.gather(event) for event in events]
    assert before == [None] * len(before)
    assert last is not None
    return last


def read(chunks: Chunks) -> ResponseClient:
    client = ResponseClient()
    for chunk in chunks:
        client.take(chunk)
    return client


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_object_is_one_of_the_packages(data: st.DataObject) -> None:
    events = data.draw(cuttings(data.draw(outputs())))
    for chunk in streamed(events):
        parsed = EVENT.validate_python(chunk, strict=True)
        assert parsed.model_dump(by_alias=True, exclude_unset=True) == chunk
    whole = gathered(events)
    kept = Response.model_validate(whole).model_dump(by_alias=True, exclude_unset=True)
    assert kept == whole
    assert set(Response.model_fields) >= set(whole) - {"store"}


def test_a_loading_model_is_a_response_in_progress() -> None:
    silent = encoder()
    first = silent.keep_alive()
    assert [each["type"] for each in first] == ["response.created", "response.in_progress"]
    chunks = [*first, *silent.keep_alive(), *silent.chunks(Started("tiny", "local"))]
    chunks += silent.chunks(TextDelta("Hi", 0))
    assert silent.keep_alive() == []
    chunks += silent.chunks(GenerateDone("stop", 1, 1))
    client = read(chunks)
    assert client.final is not None
    assert client.final["model"] == "tiny"
    assert client.final["usage"]["total_tokens"] == 2


def test_calls_are_named_as_the_client_named_them() -> None:
    pieces = (
        ToolCallDelta(0, "c0", "mcp__f", "{}"),
        ToolCallDelta(1, "c1", "patch", '{"input": "*** Begin\\n"}'),
    )
    whole = gathered([TextDelta("", 0, tool_calls=pieces), GenerateDone("tool_calls", 1, 1)])
    call, custom = whole["output"]
    assert (call["type"], call["namespace"], call["name"]) == ("function_call", "mcp", "f")
    assert (custom["type"], custom["input"]) == ("custom_tool_call", "*** Begin\n")
    assert len({call["id"], custom["id"], whole["id"]}) == 3


def test_text_that_comes_with_the_end_of_a_call_does_not_divide_it() -> None:
    begun = TextDelta("", 0, (1,), tool_calls=(ToolCallDelta(0, "c0", "f", '{"a": 1'),))
    ended = TextDelta(".", 1, (2,), tool_calls=(ToolCallDelta(0, arguments="}"),))

    call, message = gathered([begun, ended, GenerateDone("tool_calls", 1, 2)])["output"]

    assert (call["call_id"], call["name"], call["arguments"]) == ("c0", "f", '{"a": 1}')
    assert message["content"][0]["text"] == "."


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("overloaded", "rate_limit_exceeded"),
        ("context_length_exceeded", "context_length_exceeded"),
        ("invalid_request", "invalid_prompt"),
        ("step_failed", "server_error"),
    ],
)
def test_codes_that_clients_act_upon(code: str, told: str) -> None:
    failed = encoder().failed(ApiError.from_failure(Failure(code, "no")), "req-9")
    error = failed[-1]["response"]["error"]
    assert error["code"] == told
    assert (error["reason"], error["request_id"]) == (code, "req-9")
