"""What all requests for generated text have in common, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.checked_request import CheckedRequest, bad
from transports.schemas.generate import SamplingOptions

MAX_STOPS = 4
MAX_CHOICES = 16
MAX_BIASES = 1024
MAX_LOGPROBS = 20
_MAX_INT = 2**31 - 1
_SEED_RANGE = 2**63

Tokens = Annotated[int, Field(ge=1, le=_MAX_INT)]
Penalty = Annotated[float, Field(ge=-2, le=2)]

#: What would change the answer and is not honoured, with the values that ask for nothing.
_NOT_HONOURED: dict[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("none", "auto"),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "documents": ([],),
    "chat_template": (),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "best_of": (1,),
    "use_beam_search": (False,),
    "prompt_logprobs": (),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "guided_grammar": (),
    "grammar": ("",),
    "json_schema": (),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
}


#: One string is taken for a list of one.
_STOP = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "maxItems": MAX_STOPS,
        },
        {"type": "null"},
    ]
}


class StreamOptions(BaseModel):
    """What a streamed response carries besides the text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None


class RequestFields(CheckedRequest):
    """The common fields that are honoured. Unknown ones are accepted and have no effect.

    A field that would change the answer and cannot be honoured is refused, never ignored.
    """

    model: Annotated[str, Field(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_MAX_INT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-_SEED_RANGE, lt=_SEED_RANGE)] | None = None
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(max_length=MAX_STOPS, default_factory=list),
        WithJsonSchema(_STOP),
    ]
    ignore_eos: bool | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    user: str | None = None

    @property
    def streamed(self) -> bool:
        """Whether the answer is to be a stream."""
        return bool(self.stream)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, stop: Any) -> Any:
        if stop is None:
            return []
        return [stop] if isinstance(stop, str) else stop

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _not_for_all_tokens(cls, biases: Any) -> Any:
        if isinstance(biases, dict) and len(biases) > MAX_BIASES:
            raise bad(f"must hold at most {MAX_BIASES} tokens")
        return biases

    @field_validator("logit_bias")
    @classmethod
    def _by_token_id(cls, biases: dict[str, float] | None) -> dict[str, float] | None:
        for token in biases or ():
            digits = token.isascii() and token.isdigit() and len(token) <= 10
            if not digits or int(token) > _MAX_INT:
                raise bad("must map token ids, as decimal strings, to numbers", f".{token}")
        return biases

    @classmethod
    def _refuse(cls, body: dict[str, Any]) -> None:
        for name, harmless in _NOT_HONOURED.items():
            value = body.get(name)
            # By type as well: to Python, False is 0 and True is 1.
            if value is None or any(
                type(each) is type(value) and each == value for each in harmless
            ):
                continue
            raise ApiError.invalid(f"{name}: is not supported", name, "unsupported_parameter")

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    def _sampling(self, max_tokens: int | None, logprobs: int | None) -> SamplingOptions:
        biases = (self.logit_bias or {}).items()
        return SamplingOptions(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            # All tokens are -1 to vLLM and 0 to everybody else.
            top_k=None if self.top_k is None else max(self.top_k, 0),
            seed=None if self.seed is None else self.seed % _SEED_RANGE,
            stop=tuple(self.stop),
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            repetition_penalty=self.repetition_penalty,
            logit_bias=tuple((int(token), bias) for token, bias in biases),
            logprobs=logprobs,
            ignore_eos=bool(self.ignore_eos),
        )
