from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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

CHOICES = 3


def encoder(*, include_usage: bool = True, choices: int = 1) -> ChatEncoder:
    return ChatEncoder("req-1", "alias", 1700000000, include_usage=include_usage, choices=choices)


def appended(so_far: str | None, more: str | None) -> str | None:
    return more if so_far is None else so_far + (more or "")


def joined_choice(index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": None, "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def join_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    message["role"] = delta.get("role", message["role"])
    message["content"] = appended(message["content"], delta.get("content"))
    if "reasoning_content" in delta:
        reasoning = appended(message.get("reasoning_content"), delta["reasoning_content"])
        message["reasoning_content"] = reasoning
    for call in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            calls.append({"id": call["id"], "type": call["type"], "function": call["function"]})
        else:
            function = calls[call["index"]]["function"]
            arguments = function["arguments"] + call["function"]["arguments"]
            calls[call["index"]]["function"] = {**function, "arguments": arguments}


def joined(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Join a stream the way a client does, knowing nothing of the encoder."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], joined_choice(piece["index"]))
            join_delta(choice["message"], piece["delta"])
            choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
            if piece["logprobs"] is not None:
                known = (choice["logprobs"] or {"content": []})["content"]
                content = [*known, *piece["logprobs"]["content"]]
                choice["logprobs"] = {**piece["logprobs"], "content": content}
    head = {key: chunks[-1][key] for key in ("id", "created", "model")}
    ordered = [choices[index] for index in sorted(choices)]
    usage = chunks[-1]["usage"]
    return {**head, "object": "chat.completion", "choices": ordered, "usage": usage}


def streamed(events: list[GenerationEvent], **options: Any) -> list[dict[str, Any]]:
    streaming = encoder(**options)
    return [chunk for event in events for chunk in streaming.chunks(event)]


def whole(events: list[GenerationEvent], **options: Any) -> dict[str, Any]:
    gathering = encoder(**options)
    *before, last = [gathering.gather(event) for event in events]
    assert before == [None] * len(before)
    assert last is not None
    return last


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
    """Deltas of several choices with whatever may come together; calls are numbered in order."""
    calls = [0] * CHOICES
    made = []
    for index in range(draw(st.integers(0, 12))):
        choice = draw(st.integers(0, CHOICES - 1))
        pieces = []
        for _ in range(draw(st.integers(0, 2))):
            if calls[choice] == 0 or draw(st.booleans()):
                pieces.append(ToolCallDelta(calls[choice], f"id{calls[choice]}", "f", draw(short)))
                calls[choice] += 1
            else:
                pieces.append(ToolCallDelta(calls[choice] - 1, arguments=draw(short)))
        made.append(
            TextDelta(
                draw(short),
                index,
                choice=choice,
                reasoning=draw(short),
                tool_calls=tuple(pieces),
                logprobs=tuple(draw(st.lists(logprob, max_size=2))),
            )
        )
    return made


@given(pieces=deltas(), finish_reason=st.sampled_from(["stop", "length", "tool_calls"]))
def test_joining_the_stream_gives_the_whole_completion(
    pieces: list[TextDelta], finish_reason: str
) -> None:
    reasons = (finish_reason, "stop", "length")
    done = GenerateDone(
        finish_reason, 7, 9, cached_tokens=4, reasoning_tokens=2, finish_reasons=reasons
    )
    events: list[GenerationEvent] = [Started("tiny", "local"), *pieces, done]
    assert joined(streamed(events, choices=CHOICES)) == whole(events, choices=CHOICES)


@given(pieces=st.lists(short, max_size=8))
def test_the_text_is_the_same_however_it_was_cut(pieces: list[str]) -> None:
    done = GenerateDone("stop", 1, 1)
    cut: list[GenerationEvent] = [TextDelta(text, index) for index, text in enumerate(pieces)]
    assert whole([*cut, done]) == whole([TextDelta("".join(pieces), 0), done])


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
    assert joined(streamed(events, choices=2))["choices"] == both


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
