"""Requests for text that may ask for its form."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.openai.constraint_fields import (
    Choices,
    Regex,
    ResponseFormat,
    StructuredOutputs,
    constraints_of,
    schema_value,
)
from cortex_actors.dialects.openai.request_fields import RequestFields
from transports.schemas.generate import Constraint

_NAMES = ("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice")


class ConstrainedRequest(RequestFields):
    """OpenAI's way to say it, and both of vLLM's."""

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"user"})

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Any = None
    guided_regex: Regex | None = None
    guided_choice: Choices | None = None

    _guided_schema = field_validator("guided_json")(schema_value)

    def _check_together(self) -> None:
        super()._check_together()
        if len(self._constraints()) > 1:
            name = next(name for name in reversed(_NAMES) if getattr(self, name) is not None)
            message = f"{name}: the output can follow only one constraint"
            raise ApiError.invalid(message, name, "invalid_value")

    @property
    def constraint(self) -> Constraint | None:
        """What the output must be, if anything."""
        return next(iter(self._constraints()), None)

    def param_of(self, field: str) -> str:
        """See the base."""
        if field != "constraint":
            return super().param_of(field)
        asked = self.response_format
        if asked is not None and asked.constraint() is not None:
            return "response_format"
        return next((name for name in _NAMES[1:] if getattr(self, name) is not None), field)

    def _constraints(self) -> list[Constraint]:
        asked = None if self.response_format is None else self.response_format.constraint()
        structured = self.structured_outputs
        return [
            *([] if asked is None else [asked]),
            *([] if structured is None else structured.constraints()),
            *constraints_of(self.guided_json, self.guided_regex, self.guided_choice),
        ]
