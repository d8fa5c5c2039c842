"""Checks values against a schema and says what is wrong in words for the person who wrote them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from cortex_actors.config.document import KeyPath
from cortex_actors.config.errors import Problem
from cortex_actors.config.fields import NOT_A_NAME

SchemaT = TypeVar("SchemaT", bound=BaseModel)
Locate = Callable[[KeyPath, str], Problem]

_SHOWN_CHARACTERS = 60
_EXPECTED = {
    "model_type": "should be a mapping of keys",
    "dict_type": "should be a mapping of keys",
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "invalid_key": "the key should be text",
}


def validate(
    schema: type[SchemaT], data: Mapping[str, Any], directory: Path, locate: Locate
) -> tuple[SchemaT | None, tuple[Problem, ...]]:
    """Return the validated values, or None and every problem, each placed by ``locate``.

    ``directory`` is what relative paths are relative to.
    """
    try:
        return schema.model_validate(data, context={"directory": directory}), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, tuple(locate(_key_path(item), _message(schema, item)) for item in details)


def _key_path(error: Any) -> KeyPath:
    path = tuple(part for part in error["loc"] if part != "[key]")
    return (*path[:-1], str(path[-1])) if error["type"] == "invalid_key" else path


def _message(schema: type[BaseModel], error: Any) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(schema, error["loc"])
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == NOT_A_NAME:
        return f"{_shown(value)} {error['msg']}"
    expected = _EXPECTED.get(kind) or error["msg"].removeprefix("Input ")
    return f"{expected}, not {_shown(value)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _unknown_key(schema: type[BaseModel], loc: Sequence[int | str]) -> str:
    known = list(_schema_at(schema, loc[:-1]).model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
    return f"unknown key; {hint}"


def _schema_at(schema: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    for part in loc:
        if isinstance(part, str):
            schema = _innermost(schema.model_fields[part].annotation)
    return schema


def _innermost(annotation: Any) -> Any:
    """Return the section type inside ``tuple[Section, ...]``, or the section itself."""
    inner = get_args(annotation)
    return inner[0] if inner else annotation
