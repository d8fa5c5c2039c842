from __future__ import annotations

from typing import Any

from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from transports.schemas.fleet import ModelState
from transports.schemas.generate import (
    GenerateDone,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)


def encoder(*, include_usage: bool = True, choices: int = 1) -> ChatEncoder:
    return ChatEncoder("req-1", "alias", 1700000000, include_usage=include_usage, choices=choices)


def streamed(events: list[GenerationEvent], **options: Any) -> list[dict[str, Any]]:
    streaming = encoder(**options)
    return [chunk for event in events for chunk in streaming.chunks(event)]


def whole(events: list[GenerationEvent], **options: Any) -> dict[str, Any]:
    gathering = encoder(**options)
    *before, last = [gathering.gather(event) for event in events]
    assert before == [None] * len(before)
    assert last is not None
    return last


def test_the_role_comes_once_and_first() -> None:
    chunks = streamed([TextDelta("a", 0), TextDelta("b", 1)])
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in chunks]
    assert roles == ["assistant", None, None]


def test_a_call_has_no_content_and_its_name_comes_once() -> None:
    events: list[GenerationEvent] = [
        TextDelta("", 0, reasoning="Hm."),
        TextDelta("", 1, tool_calls=(ToolCallDelta(0, "c1", "f", '{"a"'),)),
        TextDelta("", 2, tool_calls=(ToolCallDelta(0, arguments=": 1}"),)),
        GenerateDone("tool_calls", 3, 4),
    ]
    sent = [chunk["choices"][0]["delta"] for chunk in streamed(events, include_usage=False)]
    assert sent == [
        {"role": "assistant", "content": None, "refusal": None},
        {"reasoning_content": "Hm."},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a"'},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        {},
    ]
    (choice,) = whole(events)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ],
    }


def test_log_probabilities_have_openais_shape() -> None:
    token = TokenLogprob("é", -0.5, "é".encode(), (TopLogprob("e", float("-inf"), b"e"),))
    events: list[GenerationEvent] = [
        TextDelta("é", 0, logprobs=(token,)),
        GenerateDone("stop", 1, 1),
    ]
    assert whole(events)["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -9999.0, "bytes": [101]}],
            }
        ],
        "refusal": None,
    }


def test_an_answer_of_nothing_is_empty_text_for_each_choice() -> None:
    events: list[GenerationEvent] = [GenerateDone("length", 1, 0)]
    both = whole(events, choices=2)["choices"]
    assert [choice["message"]["content"] for choice in both] == ["", ""]
    assert [choice["finish_reason"] for choice in both] == ["length", "length"]


def test_usage_comes_only_when_asked_for_and_last() -> None:
    done = GenerateDone("stop", 3, 4, cached_tokens=2, reasoning_tokens=1)
    without = encoder(include_usage=False).chunks(done)
    assert all("usage" not in chunk for chunk in without)
    chunks = encoder().chunks(done)
    assert [chunk["usage"] is not None for chunk in chunks] == [False, False, True]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_an_alias_is_replaced_by_the_model_that_answers() -> None:
    streaming = encoder()
    streaming.chunks(Started("tiny", "local"))
    assert streaming.chunks(TextDelta("a", 0))[0]["model"] == "tiny"


def test_progress_and_empty_text_produce_nothing() -> None:
    streaming = encoder()
    assert streaming.chunks(ModelState("tiny", "starting")) == []
    assert streaming.chunks(TextDelta("", 0, (5,))) == []
