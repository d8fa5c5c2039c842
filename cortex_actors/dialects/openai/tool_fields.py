"""The tools that a request offers, and which of them must be called."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from cortex_actors.dialects.checked_request import bad, unsupported

#: Names are written into prompts and grammars: nothing that ends a word, a tag or a string.
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
CHOICES = ("auto", "none", "required")


def plain_name(name: str) -> str:
    """Return the name of a tool.

    Raises:
        PydanticCustomError: It has letters that a prompt or a grammar could take for others.
    """
    if not _NAME.fullmatch(name):
        raise bad("must be 1 to 128 letters, digits or any of _ - . : /")
    return name


def object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON schema of a tool's arguments.

    Raises:
        PydanticCustomError: It is not that of an object.
    """
    if schema is not None and schema.get("type", "object") != "object":
        raise bad("must be the schema of an object", ".type")
    if not isinstance((schema or {}).get("properties", {}), dict):
        raise bad("must be an object", ".properties")
    return schema


class OfferedFunction(BaseModel):
    """A function; ``parameters`` is the JSON schema of an object."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    _plain_name = field_validator("name")(plain_name)
    _of_an_object = field_validator("parameters")(object_schema)


class OfferedTool(BaseModel):
    """One of ``tools``."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: str
    function: OfferedFunction

    @field_validator("type")
    @classmethod
    def _only_functions(cls, kind: str) -> str:
        if kind != "function":
            raise unsupported(f"a tool of type {kind!r}")
        return kind


def distinct(tools: list[OfferedTool] | None) -> list[OfferedTool] | None:
    """Check that no two tools have one name.

    Raises:
        PydanticCustomError: Naming the second of them.
    """
    seen: set[str] = set()
    for index, tool in enumerate(tools or ()):
        if tool.function.name in seen:
            raise bad("another tool has this name", f"[{index}].function.name")
        seen.add(tool.function.name)
    return tools


def chosen(choice: Any) -> str | None:
    """Return ``tool_choice`` in one word: auto, none, required or a function's name.

    Raises:
        PydanticCustomError: It is none of these.
    """
    if choice is None or (isinstance(choice, str) and choice in CHOICES):
        return choice
    if not isinstance(choice, dict):
        raise bad(f"must be one of {', '.join(CHOICES)}, or name a function")
    if choice.get("type") != "function":
        raise unsupported("a choice of this type", ".type")
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name in CHOICES:
        raise bad("must name one of the tools", ".function.name")
    return name


def several_calls(parallel: bool | None, choice: str | None) -> bool:
    """Say whether an output may hold more than one call: who names a function gets one of it."""
    return parallel is not False and (choice is None or choice in CHOICES)
