"""POST /v1/messages as clients send it, checked field by field.

Fields that only Anthropic's own servers could honour and that change nothing in an answer
(``cache_control``, ``service_tier``, ``metadata``, betas) are accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cortex_actors.dialects.anthropic.conversation import Message, messages_of, system_message
from cortex_actors.dialects.anthropic.message_encoder import MessageEncoder
from cortex_actors.dialects.anthropic.tools import Tool, ToolChoice
from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.checked_request import CheckedRequest, bad
from cortex_actors.dialects.openai.constraint_fields import constraints_of
from transports.schemas.generate import Constraint, CountTokens, Generate, SamplingOptions

MAX_STOPS = 16
_MAX_INT = 2**31 - 1
_NOT_HONOURED = ("mcp_servers", "container")


class Thinking(BaseModel):
    """Whether the model may think first. A budget is not enforced: ``max_tokens`` is."""

    model_config = ConfigDict(strict=True, extra="ignore")

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"budget_tokens"})

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None


class OutputFormat(BaseModel):
    """What the answer must be."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(BaseModel):
    """How much effort to make, and for what form."""

    model_config = ConfigDict(strict=True, extra="ignore")

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class Prompt(CheckedRequest):
    """The fields that make the prompt; all that the counting of tokens needs."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[list[Any], Field(min_length=1)]
    system: Any = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    @field_validator("messages")
    @classmethod
    def _as_templates_take_them(cls, turns: list[Any]) -> list[Message]:
        turned = (messages_of(turn, f"[{index}]") for index, turn in enumerate(turns))
        return [message for messages in turned for message in messages]

    @field_validator("system")
    @classmethod
    def _as_a_message(cls, system: Any) -> list[Message]:
        return system_message(system)

    @field_validator("tools")
    @classmethod
    def _distinct(cls, tools: list[Tool] | None) -> list[Tool] | None:
        seen: set[str] = set()
        for index, tool in enumerate(tools or ()):
            if tool.name in seen:
                raise bad("another tool has this name", f"[{index}].name")
            seen.add(tool.name)
        return tools

    @classmethod
    def _refuse(cls, body: dict[str, Any]) -> None:
        for name in _NOT_HONOURED:
            if body.get(name):
                raise ApiError.invalid(f"{name}: is not supported", name, "unsupported_parameter")

    def _check_together(self) -> None:
        choice = self.tool_choice.in_one_word() if self.tool_choice else "auto"
        names = {tool.name for tool in self.tools or ()}
        if choice not in {"auto", "none"} and (not names or choice not in {"required", *names}):
            message = f"tool_choice: {choice!r} needs a tool in tools to call"
            raise ApiError.invalid(message, "tool_choice", "invalid_value")
        last = self.messages[-1]
        if last["role"] == "assistant" and (last.get("tool_calls") or not last["content"].strip()):
            message = "messages: the last message of the assistant has no text to go on from"
            raise ApiError.invalid(message, "messages", "invalid_value")

    def param_of(self, field: str) -> str:
        """See the base."""
        if field == "constraint":
            asked = self.output_config is not None and self.output_config.format is not None
            return "output_config.format" if asked else "output_format"
        return "stop_sequences" if field == "stop" else field

    def question(self, request_id: str, sampling: SamplingOptions) -> Generate:
        """Return the same request as the engine takes it."""
        choice = self.tool_choice
        return Generate(
            request_id=request_id,
            model=self.model,
            messages=[*(self.system or ()), *self.messages],
            sampling=sampling,
            tools=tuple(tool.for_template() for tool in self.tools or ()),
            tool_choice=choice.in_one_word() if choice else "auto",
            parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
            constraint=self._constraint(),
            template=self._template(),
            continue_final=self.messages[-1]["role"] == "assistant",
        )

    def _constraint(self) -> Constraint | None:
        given = self.output_config.format if self.output_config else None
        given = given or self.output_format
        found = constraints_of(given.schema_ if given else None, None, None)
        return found[0] if found else None

    def _template(self) -> dict[str, Any] | None:
        variables: dict[str, Any] = {}
        # Anthropic's models think only when they are asked to.
        if self.thinking is None or self.thinking.type != "adaptive":
            variables["enable_thinking"] = bool(self.thinking and self.thinking.type == "enabled")
        if self.output_config and self.output_config.effort:
            variables["reasoning_effort"] = self.output_config.effort
        return variables or None


class CountRequest(Prompt):
    """POST /v1/messages/count_tokens."""

    def to_count(self, request_id: str) -> CountTokens:
        """Return the same request as the engine takes it."""
        return CountTokens(request_id, self.model, self.question(request_id, SamplingOptions()))


class MessagesRequest(Prompt):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Field(ge=1, le=_MAX_INT)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MAX_INT)] | None = None
    stop_sequences: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS)] | None
    ) = None

    @model_validator(mode="after")
    def _budget_within_the_answer(self) -> Self:
        budget = self.thinking.budget_tokens if self.thinking else None
        if budget is not None and budget >= self.max_tokens:
            raise bad("must be less than max_tokens", "thinking.budget_tokens")
        return self

    @property
    def streamed(self) -> bool:
        """Whether the answer is to be a stream."""
        return bool(self.stream)

    def encoder(self, request_id: str, created: int) -> MessageEncoder:
        """Return the encoder of its response; messages do not say when they were made."""
        del created
        return MessageEncoder(request_id, self.model)

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        sampling = SamplingOptions(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=tuple(self.stop_sequences or ()),
        )
        return self.question(request_id, sampling)
