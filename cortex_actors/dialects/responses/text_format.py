"""``text``: the form that the output must have."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cortex_actors.dialects.checked_request import bad, unsupported
from cortex_actors.dialects.openai.constraint_fields import constraints_of
from transports.schemas.generate import Constraint


class TextFormat(BaseModel):
    """``text.format``; a schema is enforced whether ``strict`` or not."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: str = "text"
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _known(self) -> TextFormat:
        if self.type not in {"text", "json_object", "json_schema"}:
            raise unsupported(f"a format of type {self.type!r}", ".type")
        if self.type == "json_schema" and self.schema_ is None:
            raise bad("is required", ".schema")
        return self

    def constraint(self) -> Constraint | None:
        """Return what it means; None for text."""
        if self.type == "json_schema":
            return constraints_of(self.schema_, None, None)[0]
        return Constraint("json_object") if self.type == "json_object" else None


class TextOptions(BaseModel):
    """``verbosity`` is for the chat template, if it has such a thing."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
