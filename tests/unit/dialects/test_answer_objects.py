"""What encoders make is what is declared, field by field, streamed and whole."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.dialects.anthropic import answers as anthropic
from cortex_actors.dialects.anthropic.message_encoder import MessageEncoder
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import Embedded, GenerationEvent
from cortex_actors.dialects.openai import answers as openai
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from cortex_actors.dialects.openai.completion_encoder import CompletionEncoder
from cortex_actors.dialects.openai.embedding_encoder import embedding_list
from cortex_actors.dialects.responses import answers as responses
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from tests.unit.dialects.generation_events import cuttings, outputs
from transports.schemas.generate import TextDelta, TokenLogprob, TopLogprob

TOOLS = [
    {"type": "function", "name": "get", "parameters": {"type": "object"}},
    {"type": "custom", "name": "put", "description": "A patch."},
]
LOGPROB = TokenLogprob("a", -0.5, b"a", (TopLogprob("b", -1.0, b"b"),))


def chat() -> GenerationEncoder:
    return ChatEncoder("r", "m", 1, include_usage=True)


def completion() -> GenerationEncoder:
    return CompletionEncoder("r", "m", 1, include_usage=True)


def messages() -> GenerationEncoder:
    return MessageEncoder("r", "m")


def response() -> GenerationEncoder:
    body = {"model": "m", "input": "Hi", "tools": TOOLS, "text": {"verbosity": "low"}}
    return ResponsesRequest.parse(body).encoder("r", 1)


Declared = tuple[Callable[[], GenerationEncoder], Any, Any]
DIALECTS: dict[str, Declared] = {
    "chat": (chat, openai.ChatCompletion, openai.ChatCompletionChunk),
    "completion": (completion, openai.TextCompletion, openai.TextCompletion),
    "messages": (messages, anthropic.Message, anthropic.MessageStreamEvent),
    "responses": (response, responses.Response, responses.ResponseEvent),
}


def as_declared(answer: Any, declared: Any) -> None:
    """Raises: msgspec.ValidationError: A field is missing, of another type, or not declared."""
    msgspec.json.decode(msgspec.json.encode(answer), type=declared)


@pytest.mark.parametrize("name", DIALECTS)
def test_answers_and_events_are_as_declared(name: str) -> None:
    make, answer, event = DIALECTS[name]

    @given(outputs(chat=name != "completion").flatmap(cuttings), st.booleans())
    def check(told: list[GenerationEvent], probable: bool) -> None:
        if probable:
            told = [_with_logprobs(each) for each in told]
        gathering, streaming = make(), make()
        whole = [gathering.gather(each) for each in told][-1]
        as_declared(whole, answer)
        for each in told:
            for chunk in streaming.chunks(each):
                as_declared(chunk, event)
        for chunk in make().keep_alive():
            as_declared(chunk, event)

    check()


def test_a_response_that_failed_is_as_declared() -> None:
    for chunk in response().failed(ApiError.internal(), "req"):
        as_declared(chunk, responses.ResponseEvent)


@pytest.mark.parametrize("as_base64", [False, True])
def test_embeddings_are_as_declared(as_base64: bool) -> None:
    embedded = Embedded(2, 3, struct.pack("<4f", 1, 2, 3, 4))
    as_declared(embedding_list(embedded, "m", as_base64=as_base64), openai.EmbeddingList)


def test_a_field_that_nobody_declared_is_noticed() -> None:
    counted = {"input_tokens": 1}
    as_declared(counted, anthropic.TokenCount)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        as_declared({**counted, "more": 1}, anthropic.TokenCount)


def _with_logprobs(event: GenerationEvent) -> GenerationEvent:
    if isinstance(event, TextDelta) and event.text:
        return msgspec.structs.replace(event, logprobs=(LOGPROB,))
    return event
