"""Which JSON a parameter that was written as plain text means, by its tool's schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

Schema = Mapping[str, Any]

_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def properties_of(tools: tuple[Mapping[str, Any], ...]) -> dict[str, Mapping[str, Any]]:
    """Return each tool's properties by its name; ``tools`` are OpenAI's objects."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str):
            parameters = function.get("parameters")
            declared = parameters.get("properties") if isinstance(parameters, Mapping) else None
            found[name] = declared if isinstance(declared, Mapping) else {}
    return found


def is_plain_string(schema: object) -> bool:
    """Whether every value is a string, so that text may be passed on before it is complete."""
    return types_of(schema) == {"string"}


def json_of(text: str, schema: object) -> str:
    """Return the JSON of ``text``: of the declared type where it can be, else a string."""
    types = types_of(schema)
    word = _PYTHON_WORDS.get(text.strip(), text.strip())
    if "string" in types and not ("null" in types and word == "null"):
        return _quoted(text)
    try:
        value = json.loads(word, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return _quoted(text)
    # Without a declared type, only what cannot be meant as text is taken for something else.
    if isinstance(value, str) and not types:
        return _quoted(text)
    return word


def _no_json(word: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python reads as JSON."""
    raise ValueError(word)


def escaped(text: str) -> str:
    """Return ``text`` as it stands inside a JSON string."""
    return _quoted(text)[1:-1]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def types_of(schema: object) -> set[str]:
    """Return the types that a value may have; none if the schema does not say."""
    if not isinstance(schema, Mapping):
        return set()
    declared = schema.get("type")
    types = {each for each in listed(declared) if isinstance(each, str)}
    for key in ("anyOf", "oneOf"):
        for each in listed(schema.get(key)):
            types |= types_of(each)
    values = [*listed(schema.get("enum")), *([schema["const"]] if "const" in schema else [])]
    if not types and values and all(isinstance(value, str) for value in values):
        return {"string"}
    return types


def listed(value: object) -> list[Any]:
    """Return what a schema may give as one or several."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
