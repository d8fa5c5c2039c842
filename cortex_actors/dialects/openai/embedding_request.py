"""POST /v1/embeddings as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from cortex_actors.dialects.checked_request import CheckedRequest, bad
from transports.schemas.generate import Embed

MAX_INPUTS = 2048
_TOKEN_LIMIT = 2**31

Input = str | tuple[int, ...]


class EmbeddingRequest(CheckedRequest):
    """The fields that are honoured.

    ``input`` is one text, several, the token ids of one, or those of several; here it is always a
    list of texts or of ids.
    """

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"user"})

    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**16)] | None = None
    user: str | None = None

    @field_validator("input")
    @classmethod
    def _as_list(cls, value: Any) -> tuple[Input, ...]:
        if isinstance(value, str) or _is_tokens(value):
            return (_one(value, ""),)
        if not isinstance(value, list):
            raise bad("must be a string, a list of strings, token ids, or a list of token ids")
        if not 1 <= len(value) <= MAX_INPUTS:
            raise bad(f"must hold 1 to {MAX_INPUTS} inputs, not {len(value)}")
        return tuple(_one(each, f"[{index}] ") for index, each in enumerate(value))

    def to_embed(self, request_id: str) -> Embed:
        """Return the same request as the engine takes it."""
        return Embed(request_id, self.model, self.input, self.dimensions)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) is int


def _one(value: Any, where: str) -> Input:
    """Check one input; ``where`` says which, if there are several."""
    if isinstance(value, str):
        if not value:
            raise bad(f"{where}must not be empty")
        return value
    if not isinstance(value, list):
        raise bad(f"{where}must be a string or a list of token ids")
    if not value:
        raise bad(f"{where}must not be empty")
    if not all(type(token) is int and 0 <= token < _TOKEN_LIMIT for token in value):
        raise bad(f"{where}must hold nothing but token ids, which are 0 or greater")
    return tuple(value)
