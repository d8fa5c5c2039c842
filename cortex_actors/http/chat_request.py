"""POST /v1/chat/completions as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from cortex_actors.http.errors import ApiError
from transports.schemas.generate import Generate, SamplingOptions

MAX_STOPS = 4
_MAX_TOKENS = 2**31 - 1
_SEED_RANGE = 2**63

Tokens = Annotated[int, Field(ge=1, le=_MAX_TOKENS)]


def _unsupported(what: str) -> PydanticCustomError:
    return PydanticCustomError("unsupported", "{what} is not supported", {"what": what})


class ChatMessage(BaseModel):
    """One message; fields that only some chat templates know pass through unchanged."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _join_text_parts(cls, content: Any) -> Any:
        if content is None:
            return ""
        if not isinstance(content, list):
            return content
        return "".join(_text_of(index, part) for index, part in enumerate(content))


def _text_of(index: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise PydanticCustomError("part", "part {index} has no type", {"index": index})
    if kind != "text":
        raise _unsupported(f"a content part of type {kind!r}")
    text = part.get("text")
    if not isinstance(text, str):
        raise PydanticCustomError("part", "the text of part {index} is missing", {"index": index})
    return text


class StreamOptions(BaseModel):
    """What a streamed response carries besides the text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The fields that are honoured. Unknown ones are accepted and have no effect.

    A field that would change the answer and cannot be honoured is refused, never ignored.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MAX_TOKENS)] | None = None
    seed: Annotated[int, Field(ge=-_SEED_RANGE, lt=_SEED_RANGE)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS)] = []
    n: int | None = None
    user: str | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, stop: Any) -> Any:
        if stop is None:
            return []
        return [stop] if isinstance(stop, str) else stop

    @field_validator("n")
    @classmethod
    def _one_choice(cls, n: int | None) -> int | None:
        if n not in {None, 1}:
            raise _unsupported("more or less than one choice per request")
        return n

    @field_validator("tools", "functions")
    @classmethod
    def _no_tools(cls, tools: list[Any] | None) -> list[Any] | None:
        if tools:
            raise _unsupported("calling tools")
        return tools

    @field_validator("response_format")
    @classmethod
    def _text_only(cls, response_format: dict[str, Any] | None) -> dict[str, Any] | None:
        if response_format is not None and response_format.get("type") != "text":
            raise _unsupported("a response format other than text")
        return response_format

    @field_validator("logprobs")
    @classmethod
    def _no_logprobs(cls, logprobs: bool | None) -> bool | None:
        if logprobs:
            raise _unsupported("returning log probabilities")
        return logprobs

    @classmethod
    def parse(cls, body: dict[str, Any]) -> ChatRequest:
        """Check a decoded body.

        Raises:
            ApiError: 400; ``param`` names the first field that cannot be accepted.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as ex:
            raise _refusal(ex.errors(include_url=False)[0]) from ex

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        seed = None if self.seed is None else self.seed % _SEED_RANGE
        return Generate(
            request_id=request_id,
            model=self.model,
            messages=[message.model_dump() for message in self.messages],
            sampling=SamplingOptions(
                max_tokens=self.max_completion_tokens or self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                seed=seed,
                stop=tuple(self.stop),
            ),
        )


def _refusal(error: ErrorDetails) -> ApiError:
    param = _param(error["loc"])
    if error["type"] == "missing":
        return ApiError.invalid(f"{param} is required", param, "missing_required_parameter")
    code = "unsupported_parameter" if error["type"] == "unsupported" else "invalid_value"
    return ApiError.invalid(f"{param}: {error['msg']}", param, code)


def _param(loc: tuple[int | str, ...]) -> str:
    name = ""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
