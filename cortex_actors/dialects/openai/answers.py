"""The objects that OpenAI's older APIs answer with."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from cortex_actors.dialects.answer_object import AnswerObject

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(AnswerObject):
    """Of the prompt's tokens, those that the cache gave."""

    cached_tokens: int


class CompletionTokensDetails(AnswerObject):
    """Of the completion's tokens, those of reasoning."""

    reasoning_tokens: int


class Usage(AnswerObject):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class TopTokenLogprob(AnswerObject):
    """An alternative to a token."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(AnswerObject):
    """A token and its likeliest alternatives."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopTokenLogprob]


class ChatLogprobs(AnswerObject):
    """Log probabilities of a choice."""

    content: list[ChatTokenLogprob]
    refusal: None


class FunctionCall(AnswerObject):
    """Which function is called; ``arguments`` are JSON."""

    name: str
    arguments: str


class ChatToolCall(AnswerObject):
    """A call."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(AnswerObject):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ChatToolCall] | UnsetType = UNSET


class ChatChoice(AnswerObject):
    """One of the answers."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(AnswerObject):
    """A whole answer to a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class FunctionCallPiece(AnswerObject):
    """More of a call; the name comes once."""

    arguments: str
    name: str | UnsetType = UNSET


class ChatToolCallPiece(AnswerObject):
    """More of the call number ``index``; id and type come once."""

    index: int
    function: FunctionCallPiece
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChatDelta(AnswerObject):
    """More of the answer; nothing at its end."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ChatToolCallPiece] | UnsetType = UNSET


class ChatChunkChoice(AnswerObject):
    """More of one of the answers."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(AnswerObject):
    """One event of a streamed chat; the last has no choices if ``usage`` was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | UnsetType | None = UNSET


class TextLogprobs(AnswerObject):
    """Log probabilities of a completion, in lists of one entry a token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(AnswerObject):
    """One of the completions, or more of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class TextCompletion(AnswerObject):
    """A whole completion, or one event of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET


class Embedding(AnswerObject):
    """One vector; as text it is base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(AnswerObject):
    """Token counts of embeddings."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(AnswerObject):
    """The vectors of all inputs, in order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
