"""POST /v1/completions as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.completion_encoder import CompletionEncoder
from cortex_actors.dialects.openai.constrained_request import ConstrainedRequest
from cortex_actors.dialects.openai.request_fields import MAX_LOGPROBS
from transports.schemas.generate import Generate

DEFAULT_MAX_TOKENS = 16
"""OpenAI's; a completion without an end of its own would otherwise fill the context."""

_TOKEN_LIMIT = 2**31


class CompletionRequest(ConstrainedRequest):
    """The fields of a completion. ``prompt`` is one text, or the token ids of one."""

    prompt: Any
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    echo: bool | None = None
    suffix: str | None = None

    @field_validator("prompt")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> str | tuple[int, ...]:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise unsupported("more than one prompt in a request")
            prompt = prompt[0]
        if not isinstance(prompt, str | list):
            raise bad("must be a string or a list of token ids")
        if not prompt:
            raise bad("must not be empty")
        if isinstance(prompt, str):
            return prompt
        if not all(type(token) is int and 0 <= token < _TOKEN_LIMIT for token in prompt):
            raise bad("must hold nothing but token ids, which are 0 or greater")
        return tuple(prompt)

    @field_validator("echo", "suffix")
    @classmethod
    def _neither(cls, value: bool | str | None) -> bool | str | None:
        if value:
            raise unsupported("adding to the text of a completion")
        return value

    def param_of(self, field: str) -> str:
        """See the base."""
        return "prompt" if field == "messages" else super().param_of(field)

    def encoder(self, request_id: str, created: int) -> CompletionEncoder:
        """Return the encoder of its response; ``created`` is the time of day in seconds."""
        return CompletionEncoder(
            request_id,
            self.model,
            created,
            include_usage=self.include_usage,
            choices=self.choices,
        )

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        return Generate(
            request_id=request_id,
            model=self.model,
            messages=[],
            sampling=self._sampling(self.max_tokens or DEFAULT_MAX_TOKENS, self.logprobs),
            n=self.choices,
            prompt=self.prompt,
            constraint=self.constraint,
        )
