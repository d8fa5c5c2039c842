"""The objects of OpenAI's Responses, as far as clients rely on them."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Status = Literal["in_progress", "completed", "incomplete", "failed"]
ResponseStatus = Status | Literal["queued", "cancelled"]


class OutputText(Struct, tag_field="type", tag="output_text"):
    """A part of text."""

    text: str
    annotations: list[Any]


class Refusal(Struct, tag_field="type", tag="refusal"):
    """A part that refuses."""

    refusal: str


class MessageItem(Struct, tag_field="type", tag="message"):
    """An answer."""

    id: str
    role: Literal["assistant"]
    status: Status
    content: list[OutputText | Refusal]


class CallItem(Struct, tag_field="type", tag="function_call"):
    """A call."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    """Reasoning."""

    id: str
    summary: list[Any]


Item = MessageItem | CallItem | ReasoningItem


class Usage(Struct):
    """Token counts."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class IncompleteDetails(Struct):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens", "content_filter"]


class Response(Struct):
    """A whole response, or what a stream says of it; OpenAI always has all but the last two."""

    id: str
    object: Literal["response"]
    status: ResponseStatus
    created_at: float | None = None
    model: str | None = None
    output: list[Item] = []
    usage: Usage | None = None
    incomplete_details: IncompleteDetails | None = None
    error: Any = None


class Event(Struct):
    """What all events have, and what some of them have."""

    type: str
    sequence_number: int | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    response: Response | None = None
    item: Item | None = None
