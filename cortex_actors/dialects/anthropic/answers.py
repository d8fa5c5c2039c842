"""The objects that Anthropic's API answers with."""

from __future__ import annotations

from typing import Any, Literal

from cortex_actors.dialects.answer_object import AnswerObject

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class MessageUsage(AnswerObject):
    """Token counts; what the cache gave is not in ``input_tokens``."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class TextBlock(AnswerObject, tag_field="type", tag="text"):
    """Text."""

    text: str


class ThinkingBlock(AnswerObject, tag_field="type", tag="thinking"):
    """Reasoning."""

    thinking: str
    signature: str


class ToolUseBlock(AnswerObject, tag_field="type", tag="tool_use"):
    """A call."""

    id: str
    name: str
    input: dict[str, Any]


Block = TextBlock | ThinkingBlock | ToolUseBlock


class Message(AnswerObject):
    """A whole answer, or the beginning of a streamed one."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class MessageStart(AnswerObject, tag_field="type", tag="message_start"):
    """The first event of a stream, but for pings."""

    message: Message


class BlockStart(AnswerObject, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: Block


class MoreText(AnswerObject, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class MoreThinking(AnswerObject, tag_field="type", tag="thinking_delta"):
    """More reasoning."""

    thinking: str


class Signature(AnswerObject, tag_field="type", tag="signature_delta"):
    """The end of a block of reasoning."""

    signature: str


class MoreInput(AnswerObject, tag_field="type", tag="input_json_delta"):
    """More of a call's input, which is JSON."""

    partial_json: str


class BlockDelta(AnswerObject, tag_field="type", tag="content_block_delta"):
    """The open block goes on."""

    index: int
    delta: MoreText | MoreThinking | Signature | MoreInput


class BlockStop(AnswerObject, tag_field="type", tag="content_block_stop"):
    """The open block ends."""

    index: int


class MessageEnd(AnswerObject):
    """Why the message ends."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(AnswerObject, tag_field="type", tag="message_delta"):
    """The message's end."""

    delta: MessageEnd
    usage: MessageUsage


class MessageStop(AnswerObject, tag_field="type", tag="message_stop"):
    """The last event of a stream that ends well."""


class Ping(AnswerObject, tag_field="type", tag="ping"):
    """Nothing has happened."""


MessageStreamEvent = (
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping
)


class TokenCount(AnswerObject):
    """How many tokens a prompt has."""

    input_tokens: int


class AnthropicModel(AnswerObject):
    """One model or alias, as Anthropic shows it."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModelPage(AnswerObject):
    """A page of models, as Anthropic shows it."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None
