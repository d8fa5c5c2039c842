"""The objects of OpenAI's chat completions, as far as clients rely on them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Usage(Struct):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Function(Struct):
    """The function of a call."""

    name: str
    arguments: str


class ToolCall(Struct):
    """A whole call."""

    id: str
    type: Literal["function"]
    function: Function


class Message(Struct):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None


class Choice(Struct):
    """One of the answers."""

    index: int
    message: Message
    finish_reason: FinishReason


class Completion(Struct):
    """A whole response."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class FunctionDelta(Struct):
    """A piece of a call's function."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Struct):
    """A piece of a call."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class Delta(Struct):
    """A piece of the answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Struct):
    """A piece of one of the answers."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None


class Chunk(Struct):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Error(Struct):
    """What an error says; OpenAI always has all four."""

    message: str
    type: str
    param: Any = None
    code: Any = None


class ErrorEnvelope(Struct):
    """The body of every response that is an error."""

    error: Error
