"""The objects of Anthropic's messages, as far as clients rely on them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"]


class Usage(Struct):
    """Token counts."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, wherever they came from."""
        cached = (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        return self.input_tokens + cached


class Text(Struct, tag_field="type", tag="text"):
    """A block of text."""

    text: str


class Thinking(Struct, tag_field="type", tag="thinking"):
    """A block of reasoning."""

    thinking: str
    signature: str


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    """A call."""

    id: str
    name: str
    input: dict[str, Any]


Block = Text | Thinking | ToolUse


class Message(Struct):
    """A whole response."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: Usage


class TextDelta(Struct, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Struct, tag_field="type", tag="thinking_delta"):
    """More reasoning."""

    thinking: str


class SignatureDelta(Struct, tag_field="type", tag="signature_delta"):
    """The end of a block of reasoning."""

    signature: str


class InputDelta(Struct, tag_field="type", tag="input_json_delta"):
    """More of a call's input."""

    partial_json: str


class MessageStart(Struct, tag_field="type", tag="message_start"):
    """The first event."""

    message: Message


class BlockStart(Struct, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: Block


class BlockDelta(Struct, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStop(Struct, tag_field="type", tag="content_block_stop"):
    """A block ends."""

    index: int


class Stop(Struct):
    """Why the message ends."""

    stop_reason: StopReason
    stop_sequence: str | None


class OutputUsage(Struct):
    """What was written, all together."""

    output_tokens: int


class MessageDelta(Struct, tag_field="type", tag="message_delta"):
    """The message's end."""

    delta: Stop
    usage: OutputUsage


class MessageStop(Struct, tag_field="type", tag="message_stop"):
    """The last event."""


class Ping(Struct, tag_field="type", tag="ping"):
    """Nothing has happened."""


StreamEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping


class Error(Struct):
    """What an error says."""

    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "timeout_error",
        "overloaded_error",
        "billing_error",
    ]
    message: str


class ErrorEnvelope(Struct):
    """The body of every response that is an error."""

    type: Literal["error"]
    error: Error


class Count(Struct):
    """What count_tokens answers."""

    input_tokens: int
