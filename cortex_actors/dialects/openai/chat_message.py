"""One message of a chat as clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cortex_actors.dialects.checked_request import bad, unsupported

#: Parts of text are joined before the field is checked.
_CONTENT = {
    "anyOf": [
        {"type": "string"},
        {"type": "null"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "text"],
                "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
            },
        },
    ]
}


class CalledFunction(BaseModel):
    """The function of a call that the assistant made; arguments are JSON text or an object."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    arguments: Any = "{}"

    @field_validator("arguments")
    @classmethod
    def _text_or_object(cls, arguments: Any) -> Any:
        if arguments is not None and not isinstance(arguments, str | dict):
            raise bad("must be JSON text or an object")
        return arguments


class MadeCall(BaseModel):
    """A call that the assistant made earlier in the conversation."""

    model_config = ConfigDict(strict=True, extra="allow")

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message; fields that only some chat templates know pass through unchanged."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, WithJsonSchema(_CONTENT)] = None
    tool_calls: Annotated[list[MadeCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_text_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        return "".join(_text_of(part, f"[{index}]") for index, part in enumerate(content))

    @model_validator(mode="after")
    def _only_calls_need_no_content(self) -> Self:
        if "content" not in self.model_fields_set and not self.tool_calls:
            raise PydanticCustomError("missing", "is required", {"at": ".content"})
        if self.tool_calls and self.role != "assistant":
            raise bad("only an assistant calls tools", ".tool_calls")
        return self

    def for_template(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Return what the chat template gets of the message as it was ``sent``, in its order."""
        message = {**sent, "content": self.content or ""}
        if not self.tool_calls:
            message.pop("tool_calls", None)
        return message


def _text_of(part: Any, at: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise bad("the part has no type", at)
    if kind != "text":
        raise unsupported(f"a content part of type {kind!r}", at)
    text = part.get("text")
    if not isinstance(text, str):
        raise bad("the text of the part is missing", at)
    return text
