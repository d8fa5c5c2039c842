from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.responses.responses_encoder import ResponsesEncoder
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from tests.unit.dialects.generation_events import cuttings, outputs
from tests.unit.dialects.response_client import ResponseClient
from transports.schemas.fleet import ModelState
from transports.schemas.generate import (
    GenerateDone,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from transports.schemas.link import Failure

TOOLS = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    {"type": "custom", "name": "patch", "description": "A patch."},
    {
        "type": "namespace",
        "name": "mcp",
        "description": "Others",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    },
]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

Chunks = list[dict[str, Any]]


def encoder() -> ResponsesEncoder:
    body = {"model": "alias", "input": "Hi", "tools": TOOLS}
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
        client.read(chunk)
    return client


short = st.text(max_size=4)
top = st.builds(TopLogprob, short, st.floats(-9, 0), st.binary(max_size=2))
logprob = st.builds(
    TokenLogprob,
    short,
    st.floats(-9, 0),
    st.binary(max_size=2),
    st.lists(top, max_size=2).map(tuple),
)


@st.composite
def deltas(draw: st.DrawFn) -> list[TextDelta]:
    """Deltas with whatever may come together; calls are numbered in order."""
    calls = 0
    made = []
    for index in range(draw(st.integers(0, 10))):
        pieces = []
        for _ in range(draw(st.integers(0, 2))):
            if calls == 0 or draw(st.booleans()):
                name = draw(st.sampled_from(["f", "patch", "mcp__f", "nobody's"]))
                pieces.append(ToolCallDelta(calls, f"id{calls}", name, draw(short)))
                calls += 1
            else:
                pieces.append(ToolCallDelta(calls - 1, arguments=draw(short)))
        made.append(
            TextDelta(
                draw(short),
                index,
                reasoning=draw(short),
                tool_calls=tuple(pieces),
                logprobs=tuple(draw(st.lists(logprob, max_size=1))),
            )
        )
    return made


loading = st.just(ModelState("tiny", "loading"))
done = st.builds(
    GenerateDone,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.integers(0, 9),
    st.integers(0, 9),
    cached_tokens=st.integers(0, 9),
    reasoning_tokens=st.integers(0, 9),
)


@st.composite
def generations(draw: st.DrawFn) -> list[GenerationEvent]:
    return [
        *draw(st.lists(loading, max_size=2)),
        Started("tiny", "local"),
        *draw(deltas()),
        draw(done),
    ]


Encode = Callable[[list[GenerationEvent]], Chunks]


def check_joined(encode: Encode, events: list[GenerationEvent]) -> None:
    client = read(encode(events))
    assert client.final is not None
    assert client.items == client.final["output"]
    assert client.final == gathered(events)
    last = events[-1]
    assert isinstance(last, GenerateDone)
    status = "incomplete" if last.finish_reason == "length" else "completed"
    assert client.terminals == [f"response.{status}"]
    assert client.final["status"] == status


@given(generations())
def test_a_joined_stream_is_the_whole_response(events: list[GenerationEvent]) -> None:
    check_joined(streamed, events)


@given(generations(), st.data())
def test_a_failure_anywhere_ends_the_stream_as_failed(
    events: list[GenerationEvent], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events) - 1))
    streaming = encoder()
    chunks = [chunk for event in events[:cut] for chunk in streaming.chunks(event)]
    error = ApiError.from_failure(Failure("worker_died", "rank 0 is gone"))
    client = read([*chunks, *streaming.failed(error, "req-1")])
    assert client.terminals == ["response.failed"]
    assert client.final is not None
    assert client.final["error"]["code"] == "server_error"
    assert client.final["error"]["message"] == "rank 0 is gone"
    assert client.final["output"] == client.items


@settings(max_examples=30)
@given(generations())
def test_every_object_is_one_of_the_packages(events: list[GenerationEvent]) -> None:
    for chunk in streamed(events):
        parsed = EVENT.validate_python(chunk, strict=True)
        assert parsed.model_dump(by_alias=True, exclude_unset=True) == chunk
    whole = gathered(events)
    kept = Response.model_validate(whole).model_dump(by_alias=True, exclude_unset=True)
    assert kept == whole
    assert set(Response.model_fields) >= set(whole) - {"store"}


def text_in_pieces(text: str, cuts: list[int]) -> list[str]:
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


@given(st.text(max_size=9), st.text(min_size=1, max_size=12), st.lists(st.integers(0, 99)))
def test_chunking_makes_no_difference(reasoning: str, text: str, cuts: list[int]) -> None:
    written = json.dumps({"input": text})
    tail: list[GenerationEvent] = [GenerateDone("stop", 1, 2)]

    def cut_into(cuts_: list[int]) -> list[GenerationEvent]:
        first, *more = text_in_pieces(written, cuts_)
        return [
            *(TextDelta("", 0, reasoning=piece) for piece in text_in_pieces(reasoning, cuts_)),
            *(TextDelta(piece, 1) for piece in text_in_pieces(text, cuts_)),
            TextDelta("", 2, tool_calls=(ToolCallDelta(0, "c", "patch", first),)),
            *(TextDelta("", 3, tool_calls=(ToolCallDelta(0, arguments=each),)) for each in more),
            *tail,
        ]

    one = gathered(cut_into([]))
    assert gathered(cut_into(cuts)) == one
    assert one["output"][-1]["input"] == text
    assert read(streamed(cut_into(cuts))).final == one


def _without_a_number(events: list[GenerationEvent]) -> Chunks:
    chunks = streamed(events)
    return [{**chunk, "sequence_number": min(n, 3)} for n, chunk in enumerate(chunks)]


def _never_closing(events: list[GenerationEvent]) -> Chunks:
    kept = [each for each in streamed(events) if each["type"] != "response.output_item.done"]
    return [{**chunk, "sequence_number": n} for n, chunk in enumerate(kept)]


def _always_completed(events: list[GenerationEvent]) -> Chunks:
    *before, last = streamed(events)
    return [*before, {**last, "type": "response.completed"}]


def _calls_at_once(events: list[GenerationEvent]) -> Chunks:
    kept = [each for each in streamed(events) if not each["type"].endswith("arguments.delta")]
    return [{**chunk, "sequence_number": n} for n, chunk in enumerate(kept)]


def _reasoning_last(events: list[GenerationEvent]) -> Chunks:
    chunks = streamed(events)
    output = chunks[-1]["response"]["output"]
    ordered = sorted(output, key=lambda item: item["type"] == "reasoning")
    chunks[-1] = {**chunks[-1], "response": {**chunks[-1]["response"], "output": ordered}}
    return chunks


@pytest.mark.parametrize(
    "naive",
    [_without_a_number, _never_closing, _always_completed, _calls_at_once, _reasoning_last],
)
def test_naive_encoders_are_found_out(naive: Encode) -> None:
    @settings(
        max_examples=300,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(generations())
    def check(events: list[GenerationEvent]) -> None:
        check_joined(naive, events)

    with pytest.raises(AssertionError):
        check()


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


@given(st.data())
def test_one_content_is_one_response_however_the_engine_tells_it(data: st.DataObject) -> None:
    output = data.draw(outputs())
    one, other = data.draw(cuttings(output)), data.draw(cuttings(output))
    whole = gathered(one)
    assert gathered(other) == whole
    assert read(streamed(other)).final == whole
    kinds = [item["type"] for item in whole["output"]]
    expected = ["reasoning"] * bool(output.reasoning) + ["message"] * bool(output.text)
    assert kinds == [*expected, *["function_call"] * len(output.calls)]
