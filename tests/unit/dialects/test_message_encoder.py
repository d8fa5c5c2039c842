"""Anthropic's stream: well formed, the same as the whole message, and never well after a failure.

The stream is joined by Anthropic's own Python client, as its users do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cortex_actors.dialects.anthropic.message_encoder import MessageEncoder
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import GenerationEvent, Started
from tests.unit.dialects.generation_events import cuttings, outputs
from transports.failures import FailureCode
from transports.schemas.generate import GenerateDone, TextDelta, ToolCallDelta
from transports.schemas.link import Failure

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
FAILURE = ApiError.from_failure(Failure(FailureCode.WORKER_DIED, "a worker died"))
Make = Callable[[], MessageEncoder]
Chunk = dict[str, Any]


def encoder() -> MessageEncoder:
    return MessageEncoder("r1", "asked")


def streamed(make: Make, events: list[GenerationEvent]) -> list[Chunk]:
    one = make()
    return [chunk for event in events for chunk in one.chunks(event)]


def gathered(make: Make, events: list[GenerationEvent]) -> Chunk:
    one = make()
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


def check_form(chunks: list[Chunk]) -> None:
    """Every delta belongs to the open block, and blocks are numbered as they come."""
    open_, blocks = None, 0
    assert [chunk["type"] for chunk in chunks].count("message_start") == 1
    assert chunks[0]["type"] == "message_start"
    for chunk in chunks:
        match chunk["type"]:
            case "content_block_start":
                assert open_ is None
                assert chunk["index"] == blocks
                open_, blocks = chunk["index"], blocks + 1
            case "content_block_delta":
                assert chunk["index"] == open_
            case "content_block_stop":
                assert chunk["index"] == open_
                open_ = None
            case "message_delta":
                assert open_ is None
            case _:
                pass


def check_stream(make: Make, events: list[GenerationEvent], other: list[GenerationEvent]) -> None:
    chunks = streamed(make, events)
    check_form(chunks)
    assert [chunk["type"] for chunk in chunks][-2:] == ["message_delta", "message_stop"]
    whole = gathered(make, events)
    assert gathered(make, other) == whole
    same = joined(chunks)
    same["content"] = [
        {k: v for k, v in block.items() if v is not None} for block in same["content"]
    ]
    assert {key: same[key] for key in whole if key != "usage"} == {
        key: value for key, value in whole.items() if key != "usage"
    }
    assert same["usage"].items() >= whole["usage"].items()


def _without_nones(block: Chunk) -> Chunk:
    return {key: value for key, value in block.items() if value is not None}


def check_content(make: Make, output: Any, events: list[GenerationEvent]) -> None:
    whole = gathered(make, events)
    by_type: dict[str, list[Any]] = {"thinking": [], "text": [], "tool_use": []}
    for block in whole["content"]:
        by_type[block["type"]].append(block)
    assert "".join(block["thinking"] for block in by_type["thinking"]) == output.reasoning
    assert "".join(block["text"] for block in by_type["text"]) == output.text
    assert [(block["name"], block["input"]) for block in by_type["tool_use"]] == [
        (name, json.loads(arguments)) for name, arguments in output.calls
    ]
    spent = whole["usage"]
    assert spent["input_tokens"] + spent["cache_read_input_tokens"] == output.done.prompt_tokens
    assert spent["output_tokens"] == output.done.completion_tokens


def check_failure(make: Make, events: list[GenerationEvent], at: int) -> None:
    one = make()
    chunks = [chunk for event in events[:at] for chunk in one.chunks(event)]
    chunks += one.failed(FAILURE, "req-1")
    types = [chunk["type"] for chunk in chunks]
    assert types[-1] == "error"
    assert "message_stop" not in types
    assert "message_delta" not in types
    assert chunks[-1]["error"]["type"] == "api_error"


def properties(make: Make, examples: int = 200) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        output = data.draw(outputs())
        events, other = data.draw(cuttings(output)), data.draw(cuttings(output))
        check_stream(make, events, other)
        check_content(make, output, events)
        check_failure(make, events, data.draw(st.integers(0, len(events) - 1)))

    hold()


def test_the_stream_is_well_formed_and_joins_to_the_whole_message() -> None:
    properties(encoder)


class LosesCalls(MessageEncoder):  # type: ignore[misc]
    """Forgets tool calls, as a whole message once did."""

    def _call(self, call: ToolCallDelta) -> list[Chunk]:
        return []


class LeavesBlocksOpen(MessageEncoder):  # type: ignore[misc]
    """Begins the next block without ending the last."""

    def _close(self) -> list[Chunk]:
        self._blocks += bool(self._open)
        self._open = ""
        return []


class CountsTheCacheTwice(MessageEncoder):  # type: ignore[misc]
    """Tells the cached tokens as input, too."""

    def _tail(self, done: GenerateDone) -> list[Chunk]:
        tail = super()._tail(done)
        tail[-2]["usage"]["input_tokens"] = done.prompt_tokens
        return tail


class EndsFailuresWell(MessageEncoder):  # type: ignore[misc]
    """Closes a broken stream as if it were complete."""

    def failed(self, error: ApiError, request_id: str) -> list[Chunk]:
        return [*self._close(), {"type": "message_stop"}]


class OneBlockPerPiece(MessageEncoder):  # type: ignore[misc]
    """Opens a block for every piece of text."""

    def _block(self, kind: str, empty: Chunk) -> list[Chunk]:
        closed = self._close()
        return [*closed, *super()._block(kind, empty)]


NAIVE = (LosesCalls, LeavesBlocksOpen, CountsTheCacheTwice, EndsFailuresWell, OneBlockPerPiece)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_encoder_is_found_out(naive: type[MessageEncoder]) -> None:
    with pytest.raises((AssertionError, IndexError)):
        properties(lambda: naive("r1", "asked"))


def test_the_exact_events_of_a_short_answer() -> None:
    """B07 and B08."""
    events: list[GenerationEvent] = [
        Started("m", "n1"),
        TextDelta("Hel", 0, prompt_tokens=7, cached_tokens=3),
        TextDelta("lo", 1),
        GenerateDone("stop", 7, 2, cached_tokens=3),
    ]
    assert [chunk["type"] for chunk in streamed(encoder, events)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert gathered(encoder, events) == {
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
    whole = gathered(encoder, [Started("m", "n1"), done])
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)


def test_arguments_that_were_cut_off_are_not_there() -> None:
    cut = TextDelta("", 0, tool_calls=(ToolCallDelta(0, "c", "f", '{"a": '),))
    (block,) = gathered(encoder, [cut, GenerateDone("length", 1, 1)])["content"]
    assert block == {"type": "tool_use", "id": "c", "name": "f", "input": {}}


def test_a_silent_stream_pings() -> None:
    (ping,) = encoder().keep_alive()
    assert encoder().framing.frame(ping) == b'event: ping\ndata: {"type":"ping"}\n\n'
