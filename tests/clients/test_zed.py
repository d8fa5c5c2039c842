"""What Zed's source says that it sends and reads (``crates/open_ai``), and the settings for it.

It is a desktop program that no registry has, so it is replayed: the bodies of its ``into_open_ai``,
and a reader as strict as its own, for which one event of another shape is an error of the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest

from tests.clients.fleet import MODEL, ScriptedStack
from tests.clients.questions import PIXEL, TIME_TOOL, WEATHER_TOOL
from tests.clients.scripts import ANSWER, GREETING, REPORT, THOUGHT, WEATHER_CALL

CLIENTS = Path(__file__).parents[2] / "docs" / "clients.md"
TOOLS = [{"type": "function", "function": tool} for tool in (WEATHER_TOOL, TIME_TOOL)]

process = [pytest.mark.process, pytest.mark.timeout(90)]


class Capabilities(msgspec.Struct):
    """Of a model in its settings: what has no default there must be written, or it is dropped."""

    tools: bool
    images: bool
    parallel_tool_calls: bool
    prompt_cache_key: bool
    chat_completions: bool = True


class AvailableModel(msgspec.Struct):
    """A model in its settings."""

    name: str
    max_tokens: int
    max_output_tokens: int | None = None
    capabilities: Capabilities | None = None


class Provider(msgspec.Struct):
    """A provider in its settings."""

    api_url: str
    available_models: list[AvailableModel]


class FunctionChunk(msgspec.Struct):
    """A piece of a call."""

    name: str | None = None
    arguments: str | None = None


class ToolCallChunk(msgspec.Struct):
    """A piece of a call, and whose."""

    index: int
    id: str | None = None
    function: FunctionChunk | None = None


class Delta(msgspec.Struct):
    """What an event adds."""

    role: Literal["user", "assistant", "system", "tool"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallChunk] | None = None
    reasoning_content: str | None = None


class ChoiceDelta(msgspec.Struct):
    """Of one choice."""

    index: int
    delta: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class StreamEvent(msgspec.Struct):
    """One line of ``data:``."""

    choices: list[ChoiceDelta]
    usage: Usage | None = None


class Zed:
    """Its provider of one model."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"

    def ask(self, *messages: dict[str, Any], **more: Any) -> Iterator[StreamEvent]:
        """Ask, and read what comes as it does."""
        with self._stream(*messages, **more) as answer:
            assert answer.status_code == HTTPStatus.OK
            for line in answer.iter_lines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data != "[DONE]":
                    yield msgspec.json.decode(data, type=StreamEvent)

    def refusal(self, *messages: dict[str, Any]) -> httpx.Response:
        """Ask what is refused."""
        with self._stream(*messages) as answer:
            answer.read()
            return answer

    def _stream(
        self, *messages: dict[str, Any], **more: Any
    ) -> AbstractContextManager[httpx.Response]:
        body = {
            "model": MODEL,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 1.0,
            "prompt_cache_key": "5b0e8c1e-9d7b-4b6e-8d6e-3f6f0a1b2c3d",
            **more,
        }
        headers = {"Authorization": "Bearer none"}
        return httpx.stream("POST", self._url, json=body, headers=headers, timeout=30.0)


@pytest.fixture
def zed(stack: ScriptedStack) -> Zed:
    return Zed(stack.url)


def test_the_settings_in_our_document_are_complete() -> None:
    text = CLIENTS.read_text()
    written = text[text.index('"language_models": {"openai_compatible"') :].partition("\n\n")[0]
    settings = json.loads("{" + written + "}")

    providers = msgspec.convert(
        settings["language_models"]["openai_compatible"], dict[str, Provider]
    )

    assert providers["cortex"].api_url.endswith("/v1")
    assert providers["cortex"].available_models[0].capabilities is not None


class TestProcess:
    """Against the whole stack."""

    pytestmark = process

    def test_a_text_is_read_with_its_usage_and_its_end(self, zed: Zed) -> None:
        events = list(zed.ask(_system(), _user("Hi")))

        assert _text(events) == GREETING
        assert _finish(events) == "stop"
        usage = events[-1].usage
        assert usage is not None
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens

    def test_reasoning_is_told_from_the_answer_and_may_be_sent_back(self, zed: Zed) -> None:
        question = _user("What is the meaning of life?")
        events = list(zed.ask(question))
        thought = "".join(each.reasoning_content or "" for each in _deltas(events))
        assert (thought, _text(events)) == (THOUGHT, ANSWER)

        before = {"role": "assistant", "content": ANSWER, "reasoning_content": thought}
        assert _text(zed.ask(question, before, _user("Are you sure?"))) == ANSWER

    def test_a_call_of_a_tool_goes_there_and_back(self, zed: Zed) -> None:
        question = _user("What is the weather in Paris?")
        more = {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True}
        events = list(zed.ask(question, **more))
        pieces = [call for each in _deltas(events) for call in each.tool_calls or ()]
        functions = [call.function for call in pieces if call.function is not None]
        name = next(each.name for each in functions if each.name)
        arguments = "".join(each.arguments or "" for each in functions)
        assert (name, json.loads(arguments)) == (WEATHER_CALL["name"], WEATHER_CALL["arguments"])
        assert _finish(events) == "tool_calls"

        made = {
            "id": next(call.id for call in pieces if call.id),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        called = {"role": "assistant", "content": None, "tool_calls": [made]}
        parts = [{"type": "text", "text": '{"degrees":'}, {"type": "text", "text": "21}"}]
        result = {"role": "tool", "content": parts, "tool_call_id": made["id"]}
        assert _text(zed.ask(question, called, result, **more)) == REPORT

    def test_a_title_is_asked_without_tools_while_they_are_in_the_history(self, zed: Zed) -> None:
        events = zed.ask(_user("Hi"), tools=TOOLS, tool_choice="none", stop=["\n\n"])

        assert _text(events) == GREETING

    def test_an_image_is_refused_with_words_in_the_body(self, zed: Zed) -> None:
        url = f"data:image/png;base64,{PIXEL}"
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]

        answer = zed.refusal({"role": "user", "content": parts})

        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert "image_url" in answer.json()["error"]["message"]


def _system() -> dict[str, Any]:
    return {"role": "system", "content": "You are in an editor."}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _deltas(events: list[StreamEvent]) -> list[Delta]:
    return [each.choices[0].delta for each in events if each.choices and each.choices[0].delta]


def _text(events: Iterator[StreamEvent] | list[StreamEvent]) -> str:
    return "".join(each.content or "" for each in _deltas(list(events)))


def _finish(events: list[StreamEvent]) -> str:
    (reason,) = {each.choices[0].finish_reason for each in events if each.choices} - {None}
    return str(reason)
