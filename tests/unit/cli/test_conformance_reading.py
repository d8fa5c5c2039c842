"""The conformance suite notices each way in which a chat stream can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cortex_actors.cli.conformance.case import Unmet
from cortex_actors.cli.conformance.chat_api import read
from cortex_actors.cli.conformance.event_reader import Event, EventReader

Chunks = list[dict[str, Any]]


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice], **more}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def good() -> Chunks:
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(call(0, "{", id="call_1", name="f")),
        chunk(call(0, "}")),
        chunk({}, "tool_calls"),
    ]


def events(chunks: Chunks, *last: str) -> list[Event]:
    return [Event("", json.dumps(each)) for each in chunks] + [Event("", each) for each in last]


def test_a_good_stream_is_joined() -> None:
    joined = read(events(good(), "[DONE]")).only

    assert (joined.text, joined.finish_reason) == ("Hello", "tool_calls")
    assert [(each.id, each.name, each.arguments) for each in joined.calls] == [
        ("call_1", "f", "{}")
    ]


def without_the_end(chunks: Chunks) -> None:
    del chunks[-1]


def another_id(chunks: Chunks) -> None:
    chunks[1]["id"] = "c-2"


def no_model(chunks: Chunks) -> None:
    del chunks[2]["model"]


def more_after_the_end(chunks: Chunks) -> None:
    chunks.append(chunk({"content": "!"}))


def two_ends(chunks: Chunks) -> None:
    chunks.append(chunk({}, "stop"))


def an_end_of_our_own(chunks: Chunks) -> None:
    chunks[-1] = chunk({}, "done")


def a_call_without_id(chunks: Chunks) -> None:
    del chunks[3]["choices"][0]["delta"]["tool_calls"][0]["id"]


def a_call_out_of_order(chunks: Chunks) -> None:
    chunks[4]["choices"][0]["delta"]["tool_calls"][0]["index"] = 2


def a_number_as_text(chunks: Chunks) -> None:
    chunks[1]["choices"][0]["delta"]["content"] = 1


def a_choice_too_many(chunks: Chunks) -> None:
    chunks[1]["choices"][0]["index"] = 1


@pytest.mark.parametrize(
    "spoil",
    [
        without_the_end,
        another_id,
        no_model,
        more_after_the_end,
        two_ends,
        an_end_of_our_own,
        a_call_without_id,
        a_call_out_of_order,
        a_number_as_text,
        a_choice_too_many,
    ],
)
def test_a_spoilt_stream_is_noticed(spoil: Callable[[Chunks], None]) -> None:
    chunks = good()
    spoil(chunks)

    with pytest.raises(Unmet):
        read(events(chunks, "[DONE]"))


@pytest.mark.parametrize("last", [(), ("[DONE]", "[DONE]"), ("{}",)])
def test_a_stream_that_does_not_end_with_done_is_noticed(last: tuple[str, ...]) -> None:
    with pytest.raises(Unmet):
        read(events(good(), *last))


def test_events_are_read_as_the_standard_has_it() -> None:
    reader = EventReader()
    lines = [": ping", "", "event: a", "data: 1", "data:2", "id: 7", "", "data:  x", "", "event: b"]

    assert [each for line in lines if (each := reader.line(line))] == [
        Event("a", "1\n2"),
        Event("", " x"),
    ]
    assert reader.comments == 1
