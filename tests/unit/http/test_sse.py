from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.sse import KEEP_ALIVE_S, EventStream
from tests.unit.http.doubles import HELLO, ScriptedGeneration
from transports.clock import ManualClock
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure


def stream_of(
    events: Sequence[GenerationEvent], clock: ManualClock | None = None
) -> tuple[EventStream, ScriptedGeneration]:
    generation = ScriptedGeneration(events)
    encoder = ChatEncoder("req-1", "tiny", 0, include_usage=False)
    client = ClientConnection({})
    return (
        EventStream(generation, encoder, client, "req-1", clock or ManualClock()),
        generation,
    )


def payloads(body: bytes) -> list[Any]:
    events = body.decode().split("\n\n")
    assert events.pop() == ""
    return [json.loads(event.removeprefix("data: ")) for event in events if event[6:] != "[DONE]"]


def test_all_that_is_ready_is_one_write_and_ends_with_done() -> None:
    stream, generation = stream_of(HELLO)
    pieces = list(stream)
    assert len(pieces) == 1
    assert pieces[0].endswith(b"data: [DONE]\n\n")
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in payloads(pieces[0])]
    assert contents == ["", "Hello", None]
    assert generation.closed


@given(text=st.text(min_size=1))
def test_no_text_can_break_out_of_its_event(text: str) -> None:
    stream, _ = stream_of([TextDelta(text, 0), GenerateDone("stop", 1, 1)])
    chunks = payloads(b"".join(stream))
    assert chunks[1]["choices"][0]["delta"]["content"] == text


def test_a_failed_stream_ends_with_the_error_and_never_with_done() -> None:
    stream, generation = stream_of([TextDelta("a", 0), Failure("worker_died", "gone")])
    stream.await_first()
    body = b"".join(stream)
    assert b"[DONE]" not in body
    error = payloads(body)[-1]["error"]
    assert (error["code"], error["request_id"]) == ("worker_died", "req-1")
    assert generation.closed


def test_a_refusal_before_anything_was_streamed_is_an_error_of_its_own() -> None:
    stream, _ = stream_of([Started("tiny", "local"), Failure("context_length_exceeded", "long")])
    with pytest.raises(ApiError) as caught:
        stream.await_first()
    assert caught.value.status == 400


def test_a_silent_stream_carries_a_comment_each_second() -> None:
    clock = ManualClock()
    stream, generation = stream_of([], clock)
    stream.await_first(0.0)
    for _ in range(3):
        clock.advance(KEEP_ALIVE_S)
        assert next(stream) == b": ping\n\n"
    generation.queue.put(TextDelta("a", 0))
    generation.queue.wake()
    assert b'"content":"a"' in next(stream)


def test_closing_a_stream_that_was_never_read_closes_the_generation() -> None:
    stream, generation = stream_of(HELLO)
    stream.close()
    assert generation.closed
    assert list(stream) == []
