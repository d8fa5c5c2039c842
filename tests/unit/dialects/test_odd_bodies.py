"""Whatever stands in one place of a body: it is taken, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import msgspec
import pytest

from cortex_actors.dialects.anthropic.messages_request import CountRequest, MessagesRequest
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.openai.chat_request import ChatRequest
from cortex_actors.dialects.openai.completion_request import CompletionRequest
from cortex_actors.dialects.openai.embedding_request import EmbeddingRequest
from cortex_actors.dialects.responses.responses_request import ResponsesRequest
from tests.unit.dialects import full_bodies as full

ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 1.5, 10**30, 2**63, 1e308),
    *("", "x", "\0", "auto", "required"),
    *([], [None], [3], [[[]]], ["a", "b"], {}, {"x": {}}, {"type": "text"}, {"type": "function"}),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything inside ``value``."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


def spoilt(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the body with each odd value in each place."""
    for *way, last in places(body):
        for odd in ODD:
            changed = holder = deepcopy(body)
            for step in way:
                holder = holder[step]
            holder[last] = odd
            yield changed


@pytest.mark.parametrize(
    ("request_type", "question", "body"),
    [
        (ChatRequest, "to_generate", full.CHAT),
        (ChatRequest, "to_generate", full.FORMATTED_CHAT),
        (ChatRequest, "to_generate", full.GUIDED_CHAT),
        (CompletionRequest, "to_generate", full.COMPLETION),
        (EmbeddingRequest, "to_embed", full.EMBEDDING),
        (ResponsesRequest, "to_generate", full.RESPONSE),
        (MessagesRequest, "to_generate", full.MESSAGES),
        (CountRequest, "to_count", full.PROMPT),
    ],
)
def test_any_value_anywhere_is_taken_or_refused_by_name(
    request_type: Any, question: str, body: dict[str, Any]
) -> None:
    def refusal(sent: dict[str, Any]) -> ApiError | None:
        try:
            taken = getattr(request_type.parse(sent), question)("r1")
        except ApiError as error:
            return error
        assert msgspec.msgpack.encode(taken)
        return None

    assert refusal(body) is None
    refused = [(odd, error) for odd in spoilt(body) if (error := refusal(odd))]
    assert refused
    assert [odd for odd, error in refused if error.status != 400 or not error.param] == []
