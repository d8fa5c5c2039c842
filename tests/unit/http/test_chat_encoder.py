from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.backend import GenerationEvent, Started
from cortex_actors.http.chat_encoder import ChatEncoder
from transports.schemas.fleet import ModelState
from transports.schemas.generate import GenerateDone, TextDelta


def encoder(*, include_usage: bool = True) -> ChatEncoder:
    return ChatEncoder("req-1", "alias", 1700000000, include_usage=include_usage)


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Join a stream the way a client does, knowing nothing of the encoder."""
    message: dict[str, Any] = {"role": None, "content": "", "refusal": None}
    finish_reason = None
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["role"] = delta.get("role", message["role"])
            message["content"] += delta.get("content", "")
            finish_reason = choice["finish_reason"] or finish_reason
    head = {key: chunks[-1][key] for key in ("id", "created", "model")}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = chunks[-1]["usage"]
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}


@given(
    pieces=st.lists(st.text(max_size=4), max_size=20),
    finish_reason=st.sampled_from(["stop", "length"]),
    prompt_tokens=st.integers(0, 9999),
)
def test_joining_the_stream_gives_the_whole_completion(
    pieces: list[str], finish_reason: str, prompt_tokens: int
) -> None:
    done = GenerateDone(finish_reason, prompt_tokens, len(pieces))
    started = Started("tiny", "local")
    events: list[GenerationEvent] = [started]
    events += [TextDelta(text, index) for index, text in enumerate(pieces)]
    streaming, whole = encoder(), encoder()
    chunks = [chunk for event in [*events, done] for chunk in streaming.chunks(event)]
    whole.chunks(started)
    assert joined(chunks) == whole.completion("".join(pieces), done)


def test_the_role_comes_once_and_first() -> None:
    streaming = encoder()
    chunks = [*streaming.chunks(TextDelta("a", 0)), *streaming.chunks(TextDelta("b", 1))]
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in chunks]
    assert roles == ["assistant", None, None]


def test_usage_comes_only_when_asked_for_and_last() -> None:
    done = GenerateDone("stop", 3, 4)
    without = encoder(include_usage=False).chunks(done)
    assert all("usage" not in chunk for chunk in without)
    chunks = encoder().chunks(done)
    assert [chunk["usage"] is not None for chunk in chunks] == [False, False, True]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 7


def test_an_alias_is_replaced_by_the_model_that_answers() -> None:
    streaming = encoder()
    streaming.chunks(Started("tiny", "local"))
    assert streaming.chunks(TextDelta("a", 0))[0]["model"] == "tiny"


def test_progress_and_empty_text_produce_nothing() -> None:
    streaming = encoder()
    assert streaming.chunks(ModelState("tiny", "starting")) == []
    assert streaming.chunks(TextDelta("", 0, (5,))) == []
