"""POST /v1/embeddings as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from cortex_actors.dialects.api_error import ApiError
from transports.schemas.generate import Embed

MAX_INPUTS = 2048
_TOKEN_LIMIT = 2**31

Input = str | tuple[int, ...]


def _bad(message: str) -> PydanticCustomError:
    return PydanticCustomError("input", "{message}", {"message": message})


class EmbeddingRequest(BaseModel):
    """The fields that are honoured. Unknown ones are accepted and have no effect.

    ``input`` is one text, several, the token ids of one, or those of several; here it is always a
    list of texts or of ids.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

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
            raise _bad("must be a string, a list of strings, token ids, or a list of token ids")
        if not 1 <= len(value) <= MAX_INPUTS:
            raise _bad(f"must hold 1 to {MAX_INPUTS} inputs, not {len(value)}")
        return tuple(_one(each, f"[{index}] ") for index, each in enumerate(value))

    @classmethod
    def parse(cls, body: dict[str, Any]) -> EmbeddingRequest:
        """Check a decoded body.

        Raises:
            ApiError: 400; ``param`` names the first field that cannot be accepted.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as ex:
            error = ex.errors(include_url=False)[0]
            param = str(error["loc"][0])
            if error["type"] == "missing":
                message = f"{param} is required"
                raise ApiError.invalid(message, param, "missing_required_parameter") from ex
            raise ApiError.invalid(f"{param}: {error['msg']}", param, "invalid_value") from ex

    def to_embed(self, request_id: str) -> Embed:
        """Return the same request as the engine takes it."""
        return Embed(request_id, self.model, self.input, self.dimensions)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and type(value[0]) is int


def _one(value: Any, where: str) -> Input:
    """Check one input; ``where`` says which, if there are several."""
    if isinstance(value, str):
        if not value:
            raise _bad(f"{where}must not be empty")
        return value
    if not isinstance(value, list):
        raise _bad(f"{where}must be a string or a list of token ids")
    if not value:
        raise _bad(f"{where}must not be empty")
    if not all(type(token) is int and 0 <= token < _TOKEN_LIMIT for token in value):
        raise _bad(f"{where}must hold nothing but token ids, which are 0 or greater")
    return tuple(value)
