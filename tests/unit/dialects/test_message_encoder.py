"""Anthropic's stream: well formed, the same as the whole message, and never well after a failure.

The stream is joined by Anthropic's own Python client, as its users do.
"""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cortex_actors.dialects.anthropic.message_encoder import MessageEncoder
from cortex_actors.dialects.events import GenerationEvent, Started
from tests.unit.dialects.generation_events import cuttings, outputs
from transports.schemas.generate import GenerateDone, TextDelta, ToolCallDelta

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
Chunk = dict[str, Any]


def encoder() -> MessageEncoder:
    return MessageEncoder("r1", "asked")


def streamed(events: list[GenerationEvent]) -> list[Chunk]:
    one = encoder()
    return [chunk for event in events for chunk in one.chunks(event)]


def gathered(events: list[GenerationEvent]) -> Chunk:
    one = encoder()
    wholes = [whole for event in events if (whole := one.gather(event)) is not None]
    (whole,) = wholes
    return whole


def joined(chunks: list[Chunk]) -> Chunk:
    """Join a stream as Anthropic's client does."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for chunk in chunks:
        event = EVENT.validate_python(chunk)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.model_dump()).model_dump(exclude_unset=True)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_anthropics_own_client_joins_a_stream_to_the_whole_message(data: st.DataObject) -> None:
    events = data.draw(cuttings(data.draw(outputs(truncated=False))))
    same, whole = joined(streamed(events)), gathered(events)
    same["content"] = [
        {key: value for key, value in block.items() if value is not None}
        for block in same["content"]
    ]
    assert same.pop("usage").items() >= whole.pop("usage").items()
    assert {key: same[key] for key in whole} == whole


def test_the_exact_events_of_a_short_answer() -> None:
    """B07 and B08."""
    events: list[GenerationEvent] = [
        Started("m", "n1"),
        TextDelta("Hel", 0, prompt_tokens=7, cached_tokens=3),
        TextDelta("lo", 1),
        GenerateDone("stop", 7, 2, cached_tokens=3),
    ]
    assert [chunk["type"] for chunk in streamed(events)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert gathered(events) == {
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 2,
        },
    }


@pytest.mark.parametrize(
    ("done", "reason", "sequence"),
    [
        (GenerateDone("stop", 1, 1, stop_sequence="END"), "stop_sequence", "END"),
        (GenerateDone("length", 1, 1), "max_tokens", None),
        (GenerateDone("tool_calls", 1, 1), "tool_use", None),
    ],
)
def test_why_it_stopped(done: GenerateDone, reason: str, sequence: str | None) -> None:
    whole = gathered([Started("m", "n1"), done])
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)


@pytest.mark.parametrize("arguments", ['{"a": ', '{"a": ' + "[" * 9999 + "]" * 9999 + "}"])
def test_arguments_that_were_cut_off_or_cannot_be_read_are_not_there(arguments: str) -> None:
    cut = TextDelta("", 0, tool_calls=(ToolCallDelta(0, "c", "f", arguments),))
    (block,) = gathered([cut, GenerateDone("length", 1, 1)])["content"]
    assert block == {"type": "tool_use", "id": "c", "name": "f", "input": {}}


def test_text_that_comes_with_the_end_of_a_call_does_not_divide_it() -> None:
    begun = TextDelta("", 0, (1,), tool_calls=(ToolCallDelta(0, "c", "f", '{"a": 1'),))
    ended = TextDelta(".", 1, (2,), tool_calls=(ToolCallDelta(0, arguments="}"),))

    whole = gathered([begun, ended, GenerateDone("tool_calls", 1, 2)])

    assert whole["content"] == [
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        {"type": "text", "text": "."},
    ]


def test_a_silent_stream_pings() -> None:
    (ping,) = encoder().keep_alive()
    assert encoder().framing.frame(ping) == b'event: ping\ndata: {"type":"ping"}\n\n'
