"""What an output must be: ``response_format`` and the like."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cortex_actors.dialects.checked_request import bad, unsupported
from transports.schemas.generate import Constraint

Regex = Annotated[str, Field(min_length=1, max_length=16384)]
Choices = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1024)]


def schema_value(value: Any) -> Any:
    """Return a JSON schema that may have been sent as text.

    Raises:
        PydanticCustomError: It is no schema.
    """
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as ex:
            raise bad("must be a JSON schema") from ex
    if value is not None and not isinstance(value, dict):
        raise bad("must be a JSON schema, which is an object")
    return value


class NamedSchema(BaseModel):
    """OpenAI's ``json_schema``. It is enforced whether ``strict`` or not."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """OpenAI's ``response_format``; llama.cpp and others have the schema itself in it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: str
    json_schema: NamedSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _known(self) -> ResponseFormat:
        if self.type not in {"text", "json_object", "json_schema"}:
            raise unsupported(f"a format of type {self.type!r}", ".type")
        if self.type == "json_schema" and self.json_schema is None and self.schema_ is None:
            raise bad("is required", ".json_schema")
        return self

    def constraint(self) -> Constraint | None:
        """Return what it means; None for text."""
        if self.type == "text":
            return None
        if self.type == "json_schema" and self.json_schema is not None:
            return _of_schema(self.json_schema.schema_)
        return _of_schema(self.schema_) if self.schema_ else Constraint("json_object")


class StructuredOutputs(BaseModel):
    """vLLM's ``structured_outputs``; one of them."""

    model_config = ConfigDict(strict=True, extra="ignore")

    json_: Any = Field(None, alias="json")
    json_object: bool | None = None
    regex: Regex | None = None
    choice: Choices | None = None
    grammar: Any = None
    structural_tag: Any = None

    _schema = field_validator("json_")(schema_value)

    @field_validator("grammar", "structural_tag")
    @classmethod
    def _no_grammars(cls, value: Any) -> None:
        if value is not None:
            raise unsupported("a grammar of one's own")

    def constraints(self) -> list[Constraint]:
        """Return all that are set."""
        return constraints_of(self.json_, self.regex, self.choice, json_object=self.json_object)


def constraints_of(
    schema: dict[str, Any] | None,
    regex: str | None,
    choice: list[str] | None,
    *,
    json_object: bool | None = None,
) -> list[Constraint]:
    """Return one constraint for each that is not None."""
    found = []
    if schema is not None:
        found.append(_of_schema(schema))
    if json_object:
        found.append(Constraint("json_object"))
    if regex is not None:
        found.append(Constraint("regex", regex))
    if choice is not None:
        found.append(Constraint("choice", msgspec.json.encode(choice).decode()))
    return found


def _of_schema(schema: dict[str, Any]) -> Constraint:
    return Constraint("json_schema", msgspec.json.encode(schema).decode())
