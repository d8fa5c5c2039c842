"""POST /v1/chat/completions as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.checked_request import bad
from cortex_actors.dialects.openai.chat_encoder import ChatEncoder
from cortex_actors.dialects.openai.chat_message import ChatMessage
from cortex_actors.dialects.openai.constrained_request import ConstrainedRequest
from cortex_actors.dialects.openai.request_fields import MAX_LOGPROBS, Tokens
from cortex_actors.dialects.openai.tool_fields import (
    CHOICES,
    OfferedTool,
    chosen,
    distinct,
    several_calls,
)
from transports.schemas.generate import Generate

#: What the server itself gives to a template.
_OWN_VARIABLES = {"messages", "tools", "documents", "add_generation_prompt"}


class ChatRequest(ConstrainedRequest):
    """The fields of a chat. ``logprobs`` here is a switch; ``top_logprobs`` says how many."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: Annotated[list[OfferedTool], Field(fail_fast=True)] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    _distinct_tools = field_validator("tools")(distinct)
    _chosen_tool = field_validator("tool_choice")(chosen)

    @field_validator("chat_template_kwargs")
    @classmethod
    def _variables_of_its_own(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        for name in given or ():
            if name in _OWN_VARIABLES:
                raise bad("is set by the server", f".{name}")
        return given

    def _check_together(self) -> None:
        super()._check_together()
        if self.top_logprobs is not None and not self.logprobs:
            message = "top_logprobs: needs logprobs to be true"
            raise ApiError.invalid(message, "top_logprobs", "invalid_value")
        if self.tool_choice is None or self.tool_choice in {"auto", "none"}:
            return
        names = {tool.function.name for tool in self.tools or ()}
        if not names or self.tool_choice not in {*CHOICES, *names}:
            message = f"tool_choice: {self.tool_choice!r} needs a tool in tools to call"
            raise ApiError.invalid(message, "tool_choice", "invalid_value")

    def encoder(self, request_id: str, created: int) -> ChatEncoder:
        """Return the encoder of its response; ``created`` is the time of day in seconds."""
        return ChatEncoder(
            request_id,
            self.model,
            created,
            include_usage=self.include_usage,
            choices=self.choices,
        )

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return Generate(
            request_id=request_id,
            model=self.model,
            messages=[
                message.for_template(sent)
                for message, sent in zip(self.messages, self._body["messages"], strict=True)
            ],
            sampling=self._sampling(self.max_completion_tokens or self.max_tokens, logprobs),
            n=self.choices,
            # As they were sent: a template may show them, and the order of keys is part of that.
            tools=tuple(self._body.get("tools") or ()),
            tool_choice=self.tool_choice or "auto",
            parallel_tool_calls=several_calls(self.parallel_tool_calls, self.tool_choice),
            constraint=self.constraint,
            template=self._template(),
        )

    def _template(self) -> dict[str, Any] | None:
        variables: dict[str, Any] = {}
        if self.reasoning_effort is not None:
            variables["reasoning_effort"] = self.reasoning_effort
        if self.reasoning_effort == "none":
            variables["enable_thinking"] = False
        return {**variables, **(self.chat_template_kwargs or {})} or None
