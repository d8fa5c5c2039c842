"""POST /v1/responses as clients send it, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator
from pydantic_core import PydanticCustomError

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.request_fields import MAX_LOGPROBS, RequestFields, Tokens
from cortex_actors.dialects.openai.tool_fields import several_calls
from cortex_actors.dialects.responses.input_items import Turns, as_items
from cortex_actors.dialects.responses.offered_tools import OfferedTools, offered
from cortex_actors.dialects.responses.response_object import Echo
from cortex_actors.dialects.responses.responses_encoder import ResponsesEncoder
from cortex_actors.dialects.responses.text_format import TextOptions
from cortex_actors.dialects.responses.tool_choice import ToolChoice, chosen
from transports.schemas.generate import Generate

_MAX_METADATA = 16
_LOGPROBS = "message.output_text.logprobs"
_INCLUDABLE = {
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    _LOGPROBS,
}

_PARAMS = {
    "messages": "input",
    "constraint": "text.format",
    "max_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
}


class Reasoning(BaseModel):
    """``summary`` is accepted; the reasoning itself is given instead."""

    model_config = ConfigDict(strict=True, extra="ignore")

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"summary"})

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None


class ResponsesRequest(RequestFields):
    """The fields of a response.

    ``history`` is what ``previous_response_id`` stands for; whoever has the store sets it.
    """

    # The response has its own limit, and usage in any case.
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"max_tokens", "stream_options"})

    input: Any = None
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    include: Annotated[list[str], Field(fail_fast=True)] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None

    _tools: OfferedTools = PrivateAttr(default_factory=OfferedTools)
    _choice: ToolChoice = PrivateAttr(default_factory=ToolChoice)
    _history: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @field_validator("conversation", "prompt", "context_management", "moderation")
    @classmethod
    def _none_of_these(cls, value: Any) -> None:
        if value:
            raise unsupported("this")

    @field_validator("background")
    @classmethod
    def _in_the_foreground(cls, background: bool | None) -> bool | None:
        if background:
            raise unsupported("a response in the background")
        return background

    @field_validator("include")
    @classmethod
    def _known(cls, include: list[str] | None) -> list[str] | None:
        for index, name in enumerate(include or ()):
            if name not in _INCLUDABLE:
                raise bad(f"there is no {name!r} to include", f"[{index}]")
        return include

    @field_validator("metadata", mode="before")
    @classmethod
    def _bounded(cls, metadata: Any) -> Any:
        if isinstance(metadata, dict) and len(metadata) > _MAX_METADATA:
            raise bad(f"must hold at most {_MAX_METADATA} pairs")
        return metadata

    @field_validator("input")
    @classmethod
    def _items(cls, given: Any) -> list[dict[str, Any]]:
        items = as_items(given)
        turns = Turns()
        for index, item in enumerate(items):
            turns.add(item, f"[{index}]")
        return items

    @property
    def items(self) -> list[dict[str, Any]]:
        """The request's own input, as items."""
        return as_items([] if self.input is None else self.input)

    @property
    def stored(self) -> bool:
        """Whether the response is to be kept; the API's default is yes."""
        return self.store is not False

    def param_of(self, field: str) -> str:
        """See the base."""
        return _PARAMS.get(field, field)

    def after(self, history: list[dict[str, Any]]) -> None:
        """Set what was said before: the items of earlier responses, input and output."""
        self._history = history

    def _check_together(self) -> None:
        super()._check_together()
        if self.choices > 1:
            raise ApiError.invalid("n: only one response is given", "n", "invalid_value")
        if not self.items and self.instructions is None and self.previous_response_id is None:
            message = "input is required"
            raise ApiError.invalid(message, "input", "missing_required_parameter")
        self._tools = _named_field("tools", offered, self.tools or [])
        self._choice = _named_field("tool_choice", chosen, self.tool_choice, self._tools)

    def to_generate(self, request_id: str) -> Generate:
        """Return the same request as the engine takes it."""
        turns = Turns()
        if self.instructions:
            turns.messages.append({"role": "system", "content": self.instructions})
        for index, item in enumerate([*self._history, *self.items]):
            turns.add(item, f"[{index}]")
        allowed = self._choice.allowed
        tools = self._tools.functions if allowed is None else self._tools.only(set(allowed))
        form = None if self.text is None or self.text.format is None else self.text.format
        return Generate(
            request_id=request_id,
            model=self.model,
            messages=turns.messages,
            sampling=self._sampling(self.max_output_tokens, self._logprobs),
            tools=tools,
            tool_choice=self._choice.word,
            parallel_tool_calls=several_calls(self.parallel_tool_calls, self._choice.word),
            constraint=None if form is None else form.constraint(),
            template=self._template(),
        )

    def encoder(self, request_id: str, created: int) -> ResponsesEncoder:
        """Return the encoder of its response; ``created`` is the time of day in seconds."""
        echo = Echo.of(self._body, self._tools.listed, created)
        return ResponsesEncoder(request_id, echo, self._tools)

    @property
    def _logprobs(self) -> int | None:
        if self.top_logprobs or _LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        return None

    def _template(self) -> dict[str, Any] | None:
        variables: dict[str, Any] = {}
        effort = None if self.reasoning is None else self.reasoning.effort
        if effort is not None:
            variables["reasoning_effort"] = effort
        if effort == "none":
            variables["enable_thinking"] = False
        if self.text is not None and self.text.verbosity is not None:
            variables["verbosity"] = self.text.verbosity
        return variables or None


def _named_field(name: str, read: Any, *values: Any) -> Any:
    try:
        return read(*values)
    except PydanticCustomError as ex:
        context = ex.context or {}
        code = "unsupported_parameter" if ex.type == "unsupported" else "invalid_value"
        param = name + str(context.get("at", ""))
        raise ApiError.invalid(f"{param}: {ex.message()}", param, code) from ex
