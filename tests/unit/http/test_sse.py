from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.sse import KEEP_ALIVE_S, EventStream
from tests.unit.dialects.stream_client import Asked
from tests.unit.dialects.streamed_dialects import DIALECTS
from tests.unit.http.doubles import HELLO, ScriptedGeneration
from transports.clock import ManualClock
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

COMMENT, PING = ": ping", "ping"
BEGUN = ["response.created", "response.in_progress"]
# What silence carries: before the first output, each second, and after it.
KEEP_ALIVES: dict[str, tuple[list[list[str]], list[str]]] = {
    "chat": ([[COMMENT], [COMMENT], [COMMENT]], [COMMENT]),
    "completions": ([[COMMENT], [COMMENT], [COMMENT]], [COMMENT]),
    "messages": ([[PING], [PING], [PING]], [PING]),
    # Its own event denies output, so a comment is all that may come later.
    "responses": ([BEGUN, BEGUN[1:], BEGUN[1:]], [COMMENT]),
}


def stream_of(
    events: Sequence[GenerationEvent],
    clock: ManualClock | None = None,
    encoder: GenerationEncoder | None = None,
) -> tuple[EventStream, ScriptedGeneration]:
    generation = ScriptedGeneration(events)
    encoder = encoder or ChatEncoder("req-1", "tiny", 0, include_usage=False)
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
    ((piece, is_last),) = ((piece, stream.is_over) for piece in stream)
    assert is_last
    assert piece.endswith(b"data: [DONE]\n\n")
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in payloads(piece)]
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


def carried(piece: bytes) -> list[str]:
    """The names of a piece's events, and its comments as they are."""
    blocks = piece.decode().split("\n\n")
    assert blocks.pop() == ""
    return [
        block if block.startswith(":") else block.split("\n")[0].removeprefix("event: ")
        for block in blocks
    ]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_silent_stream_carries_what_its_dialect_has_for_it_each_second(name: str) -> None:
    before, after = KEEP_ALIVES[name]
    clock = ManualClock()
    stream, generation = stream_of([], clock, DIALECTS[name].make(Asked()))
    stream.await_first(0.0)
    for names in before:
        clock.advance(KEEP_ALIVE_S)
        assert carried(next(stream)) == names
    told(generation, TextDelta("words", 0))
    assert b'"words"' in next(stream)
    for _ in range(3):
        clock.advance(KEEP_ALIVE_S)
        assert carried(next(stream)) == after
    told(generation, GenerateDone("stop", 1, 1))
    assert next(stream)
    assert list(stream) == []


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_whose_text_comes_in_time_carries_no_keep_alive(name: str) -> None:
    clock = ManualClock()
    stream, generation = stream_of([], clock, DIALECTS[name].make(Asked()))
    stream.await_first(0.0)
    for index in range(3):
        clock.advance(KEEP_ALIVE_S * 0.9)
        told(generation, TextDelta(f"word{index}", index))
        piece = next(stream)
        assert f"word{index}".encode() in piece
        assert b"ping" not in piece


@pytest.mark.parametrize("event", [TextDelta("a", 0), ModelState("tiny", "starting")])
def test_what_is_there_is_not_withheld(event: GenerationEvent) -> None:
    """The wait for a refusal ends with the first thing that is none."""
    waits: list[float] = []
    stream, generation = stream_of([Started("tiny", "local")])

    class Client(ClientConnection):  # type: ignore[misc]
        def wait_for(self, fd: int, timeout_s: float) -> None:
            waits.append(timeout_s)
            assert len(waits) <= 2, "it is there"
            told(generation, Started("tiny", "other") if len(waits) == 1 else event)

    stream._client = Client({})
    stream.await_first()
    assert waits == [KEEP_ALIVE_S] * 2


def told(generation: ScriptedGeneration, event: GenerationEvent) -> None:
    generation.queue.put(event)
    generation.queue.wake()


def test_closing_a_stream_that_was_never_read_closes_the_generation() -> None:
    stream, generation = stream_of(HELLO)
    stream.close()
    assert generation.closed
    assert list(stream) == []
