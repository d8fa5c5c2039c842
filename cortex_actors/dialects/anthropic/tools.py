"""The tools that a request offers, and which of them must be called, as Anthropic says it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.tool_fields import object_schema, plain_name


class Tool(BaseModel):
    """A tool of the client's own; those that Anthropic's servers run do not exist here."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None

    _plain_name = field_validator("name")(plain_name)
    _of_an_object = field_validator("input_schema")(object_schema)

    @field_validator("type")
    @classmethod
    def _of_the_client(cls, kind: str | None) -> str | None:
        if kind not in {None, "custom"}:
            raise unsupported(f"a tool of type {kind!r}")
        return kind

    def for_template(self) -> dict[str, Any]:
        """Return the tool as chat templates know it."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        if self.input_schema is not None:
            function["parameters"] = self.input_schema
        return {"type": "function", "function": function}


class ToolChoice(BaseModel):
    """Which tools must be called."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.type == "tool" and self.name is None:
            raise bad("is required", ".name")
        return self

    def in_one_word(self) -> str:
        """Return auto, none, required or the tool's name."""
        if self.type == "tool":
            return self.name or ""
        return "required" if self.type == "any" else self.type
