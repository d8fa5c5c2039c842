"""The dialects that stream text: how each is encoded, read, and what it should then say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cortex_actors.dialects.anthropic.message_encoder import MessageEncoder
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from cortex_actors.dialects.openai.completion_encoder import CompletionEncoder
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from tests.unit.dialects.generation_events import CUSTOM, Output
from tests.unit.dialects.message_client import MessageClient, arguments_of
from tests.unit.dialects.openai_client import ChatClient, CompletionClient
from tests.unit.dialects.response_client import ResponseClient
from tests.unit.dialects.stream_client import Asked, StreamClient

_CREATED: Final = 1700000000
REQUEST_ID: Final = "req-1"

RESPONSE_TOOLS: Final = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    {"type": "custom", "name": CUSTOM, "description": "A patch."},
    {
        "type": "namespace",
        "name": "mcp",
        "description": "Others",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    },
]

Make = Callable[[Asked], GenerationEncoder]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one choice tells its client; ``order`` where the dialect tells it."""

    reasoning: str
    text: str
    calls: list[tuple[str, Any]]
    ending: Any
    order: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API: its encoder, a client for it, and what an answer should read like there.

    ``usage`` returns the tokens of the prompt, of these from the cache, and of the output.
    """

    name: str
    make: Make
    client: Callable[[Asked], StreamClient]
    reading: Callable[[dict[str, Any], int], Reading]
    expected: Callable[[Output, int], Reading]
    usage: Callable[[dict[str, Any]], tuple[int, int, int]]
    chat: bool = True
    choices: int = 1


def _openai_usage(whole: dict[str, Any]) -> tuple[int, int, int]:
    usage = whole["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return usage["prompt_tokens"], cached, usage["completion_tokens"]


def _expected_chat(output: Output, choice: int) -> Reading:
    return Reading(
        output.text("reasoning", choice),
        output.text("text", choice),
        list(output.calls(choice)),
        output.finish_reason(choice),
    )


def _chat_reading(whole: dict[str, Any], index: int) -> Reading:
    choice = whole["choices"][index]
    message = choice["message"]
    functions = [call["function"] for call in message.get("tool_calls", ())]
    return Reading(
        message.get("reasoning_content", ""),
        message["content"] or "",
        [(function["name"], function["arguments"]) for function in functions],
        choice["finish_reason"],
    )


def _completion_reading(whole: dict[str, Any], index: int) -> Reading:
    choice = whole["choices"][index]
    return Reading("", choice["text"], [], choice["finish_reason"])


def _order(output: Output) -> list[str]:
    return [each.kind for each in output.choices[0]]


def _expected_message(output: Output, _: int) -> Reading:
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    ending: tuple[str, str | None] = (reasons[output.done.finish_reason], None)
    if output.done.stop_sequence:
        ending = ("stop_sequence", output.done.stop_sequence)
    calls = [(name, arguments_of(arguments)) for name, arguments in output.calls()]
    return Reading(output.text("reasoning"), output.text("text"), calls, ending, _order(output))


def _message_reading(whole: dict[str, Any], _: int) -> Reading:
    kinds = {"thinking": "reasoning", "text": "text", "tool_use": "call"}
    content = whole["content"]
    return Reading(
        "".join(each["thinking"] for each in content if each["type"] == "thinking"),
        "".join(each["text"] for each in content if each["type"] == "text"),
        [(each["name"], each["input"]) for each in content if each["type"] == "tool_use"],
        (whole["stop_reason"], whole["stop_sequence"]),
        [kinds[each["type"]] for each in content],
    )


def _message_usage(whole: dict[str, Any]) -> tuple[int, int, int]:
    usage = whole["usage"]
    cached = usage["cache_read_input_tokens"]
    return usage["input_tokens"] + cached, cached, usage["output_tokens"]


def _expected_response(output: Output, _: int) -> Reading:
    calls = [
        (name, json.loads(arguments)["input"] if name == CUSTOM else arguments)
        for name, arguments in output.calls()
    ]
    truncated = output.done.finish_reason == "length"
    ending = ("incomplete", "max_output_tokens") if truncated else ("completed", None)
    return Reading(output.text("reasoning"), output.text("text"), calls, ending, _order(output))


def _response_reading(whole: dict[str, Any], _: int) -> Reading:
    kinds = {"reasoning": "reasoning", "message": "text"}
    items = whole["output"]
    return Reading(
        "".join(each["content"][0]["text"] for each in items if each["type"] == "reasoning"),
        "".join(each["content"][0]["text"] for each in items if each["type"] == "message"),
        [_response_call(each) for each in items if each["type"] not in kinds],
        (whole["status"], (whole["incomplete_details"] or {}).get("reason")),
        [kinds.get(each["type"], "call") for each in items],
    )


def _response_call(item: dict[str, Any]) -> tuple[str, Any]:
    place = f"{item['namespace']}__" if "namespace" in item else ""
    custom = item["type"] == "custom_tool_call"
    return place + item["name"], item["input"] if custom else item["arguments"]


def _response_usage(whole: dict[str, Any]) -> tuple[int, int, int]:
    usage = whole["usage"]
    cached = usage["input_tokens_details"]["cached_tokens"]
    return usage["input_tokens"], cached, usage["output_tokens"]


def _responses_encoder(_: Asked) -> GenerationEncoder:
    body = {"model": "alias", "input": "Hi", "tools": RESPONSE_TOOLS}
    return ResponsesRequest.parse(body).encoder(REQUEST_ID, _CREATED)


def _chat_encoder(asked: Asked) -> GenerationEncoder:
    usage, choices = asked.usage, asked.choices
    return ChatEncoder(REQUEST_ID, "alias", _CREATED, include_usage=usage, choices=choices)


def _completion_encoder(asked: Asked) -> GenerationEncoder:
    usage, choices = asked.usage, asked.choices
    return CompletionEncoder(REQUEST_ID, "alias", _CREATED, include_usage=usage, choices=choices)


DIALECTS: Final = {
    each.name: each
    for each in (
        Dialect(
            "chat",
            _chat_encoder,
            ChatClient,
            _chat_reading,
            _expected_chat,
            _openai_usage,
            choices=3,
        ),
        Dialect(
            "completions",
            _completion_encoder,
            CompletionClient,
            _completion_reading,
            _expected_chat,
            _openai_usage,
            chat=False,
            choices=3,
        ),
        Dialect(
            "responses",
            _responses_encoder,
            lambda _: ResponseClient(),
            _response_reading,
            _expected_response,
            _response_usage,
        ),
        Dialect(
            "messages",
            lambda _: MessageEncoder(REQUEST_ID, "alias"),
            lambda _: MessageClient(),
            _message_reading,
            _expected_message,
            _message_usage,
        ),
    )
}
