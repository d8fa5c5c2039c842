"""The objects that the Responses API answers with."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from cortex_actors.dialects.answer_object import AnswerObject
from cortex_actors.dialects.openai.answers import ChatTokenLogprob

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(AnswerObject, tag_field="type", tag="output_text"):
    """A part of text."""

    text: str
    annotations: list[Any]
    logprobs: list[ChatTokenLogprob]


class ReasoningText(AnswerObject, tag_field="type", tag="reasoning_text"):
    """A part of reasoning."""

    text: str


class MessageItem(AnswerObject, tag_field="type", tag="message"):
    """What the model says."""

    id: str
    role: Literal["assistant"]
    status: Status
    content: list[OutputText]


class ReasoningItem(AnswerObject, tag_field="type", tag="reasoning"):
    """What the model thinks."""

    id: str
    summary: list[Any]
    content: list[ReasoningText]
    encrypted_content: None
    status: Status


class FunctionCallItem(AnswerObject, tag_field="type", tag="function_call"):
    """A call of a function; ``arguments`` are JSON."""

    id: str
    status: Status
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET


class CustomCallItem(AnswerObject, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool; ``input`` is free text."""

    id: str
    status: Status
    call_id: str
    name: str
    input: str
    namespace: str | UnsetType = UNSET


Item = MessageItem | ReasoningItem | FunctionCallItem | CustomCallItem


class InputTokensDetails(AnswerObject):
    """Of the input's tokens, those that the cache gave."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(AnswerObject):
    """Of the output's tokens, those of reasoning."""

    reasoning_tokens: int


class ResponseUsage(AnswerObject):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(AnswerObject):
    """Why a response is not complete."""

    reason: Literal["max_output_tokens"]


class ResponseError(AnswerObject):
    """Why a response failed; ``reason`` is this server's own code."""

    code: str
    message: str
    type: str
    param: str | None
    reason: str
    request_id: str


class ReasoningOptions(AnswerObject):
    """What was asked for."""

    effort: str | None
    summary: None


class ResponseText(AnswerObject):
    """What form was asked for."""

    format: dict[str, Any]
    verbosity: str | None


class Response(AnswerObject):
    """A response, whole or as far as it has come, with what was asked for."""

    id: str
    object: Literal["response"]
    status: Status
    created_at: int
    completed_at: None
    model: str
    output: list[Item]
    usage: ResponseUsage | None
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    background: bool
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: ResponseText
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int | None
    top_p: float | None
    truncation: Literal["disabled"]
    user: str | None


class ResponseEvent(AnswerObject):
    """One event of a stream; which fields it has depends on its ``type``."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
    ]
    sequence_number: int
    response: Response | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: Item | UnsetType = UNSET
    part: OutputText | ReasoningText | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: list[ChatTokenLogprob] | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    input: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class DeletedResponse(AnswerObject):
    """A response that is forgotten."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(AnswerObject):
    """A page of what a response was asked, as it was sent."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
