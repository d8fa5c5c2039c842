"""What a forced call must look like, so that its format's parser reads it back. Pure.

Grammars are in llguidance's Lark. The arguments follow the tool's own schema; references in it
stay valid, because the schema is always a JSON value of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from neuron_runtime.engine.parsers.argument_types import Schema, listed, types_of

_NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
# One space after a colon or comma, as in all training data; free spacing invites endless spaces.
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# What references in a parameter's own schema point into.
_DEFINITIONS = ("$defs", "definitions")


@dataclass(frozen=True, slots=True)
class Around:
    """What a format writes before and after a call's arguments; ``{name}`` is the tool's name."""

    begin: str
    end: str
    first: str = ""
    between: str | None = None
    last: str = ""


#: By format: text before all calls and after them, around each, and between two (None: only one).
_JSON_FORMATS: Mapping[str, Around] = {
    "hermes": Around(
        '<tool_call>\n{"name": "{name}", "arguments": ', "}\n</tool_call>", between="\n"
    ),
    "llama3_json": Around('{"name": "{name}", "parameters": ', "}", between="; "),
    "mistral": Around("[TOOL_CALLS]{name}[ARGS]", "", between=""),
    "mistral_list": Around('{"name": "{name}", "arguments": ', "}", "[TOOL_CALLS] [", ", ", "]"),
    "harmony": Around("<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>", ""),
}
_XML = Around("<tool_call>\n<function={name}>\n", "</function>\n</tool_call>", between="\n")


def call_grammar(
    format_name: str,
    tools: Sequence[Mapping[str, Any]],
    *,
    parallel: bool = True,
    special: Mapping[str, int] | None = None,
    answer: str | None = None,
    around: Around | None = None,
) -> str:
    """Return the grammar of an output that is one call of one of ``tools``, or several.

    ``special`` gives the ids of markers that are special tokens. With ``answer``, a rule's body
    in the same language, the output may be that instead of calls. ``around`` is of a format that
    is not known here.

    Raises:
        ValueError: Nothing is known of how this format's calls are written.
    """
    xml = format_name == "qwen3_coder"
    around = around or (_XML if xml else _JSON_FORMATS.get(format_name))
    if around is None:
        raise ValueError(f"calls cannot be demanded of a model that writes them as {format_name!r}")
    return _Grammar(around, special or {}, xml=xml).of(tools, parallel, answer)


@final
class _Grammar:
    def __init__(self, around: Around, special: Mapping[str, int], *, xml: bool) -> None:
        self._around, self._xml = around, xml
        self._special = special
        self._rules: list[str] = []

    def of(self, tools: Sequence[Mapping[str, Any]], parallel: bool, answer: str | None) -> str:
        around, rules = self._around, self._rules
        functions = [tool["function"] for tool in tools]
        rules.append(f"start: calls{' | answer' if answer else ''}")
        more = ""
        if parallel and around.between is not None:
            more = f"({self._text(around.between)} call)*"
        rules.append(f"calls: {self._text(around.first)} call {more} {self._text(around.last)}")
        rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(functions))))
        for at, function in enumerate(functions):
            self._add_call(at, function["name"], function.get("parameters") or _NO_ARGUMENTS)
        if answer:
            rules.append(f"answer: {answer}")
        return "\n".join(rules) + "\n"

    def _add_call(self, at: int, name: str, parameters: Schema) -> None:
        begin = self._text(self._around.begin.replace("{name}", name))
        end = self._text(self._around.end)
        if self._xml:
            arguments = self._add_parameters(at, parameters)
        else:
            arguments = f"arguments_{at}"
            self._rules.append(f"{arguments}: {json_body({'type': 'object', **parameters})}")
        self._rules.append(f"call_{at}: {begin} {arguments} {end}")

    def _add_parameters(self, at: int, parameters: Schema) -> str:
        """Add a rule for each parameter and return their sequence, in the schema's order."""
        required = listed(parameters.get("required"))
        properties = parameters.get("properties")
        definitions = {key: parameters[key] for key in _DEFINITIONS if key in parameters}
        names = []
        for number, (key, schema) in enumerate(
            properties.items() if isinstance(properties, Mapping) else ()
        ):
            rule = f"parameter_{at}_{number}"
            end = "\n</parameter>\n"
            body = _value(schema, definitions)
            if body is None:
                self._rules.append(f"{rule}_text[suffix={json.dumps(end)}]: /(.|\\n)*/")
                body = f"{rule}_text"
            else:
                body = f"({body}) {json.dumps(end)}"
            self._rules.append(f"{rule}: {self._text(f'<parameter={key}>{chr(10)}')} {body}")
            names.append(rule if key in required else f"{rule}?")
        return " ".join(names)

    def _text(self, text: str) -> str:
        """Return ``text`` as a sequence of string literals and special tokens."""
        if not self._special:
            return _literal(text)
        markers = "|".join(map(re.escape, sorted(self._special, key=len, reverse=True)))
        parts = re.split(f"({markers})", text)
        return " ".join(
            f"<[{self._special[part]}]>" if part in self._special else _literal(part)
            for part in parts
        )


def json_body(schema: Schema) -> str:
    """Return the body of a rule for one JSON value."""
    return "%json " + json.dumps({"x-guidance": _SPACING, **schema}, ensure_ascii=False)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _value(schema: object, definitions: Schema) -> str | None:
    """Return what a parameter's plain text may be; None for any text."""
    if not isinstance(schema, Mapping):
        return None
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if values:
        shown = (each if isinstance(each, str) else json.dumps(each) for each in values)
        return " | ".join(map(_literal, shown))
    types = types_of(schema)
    if not types or "string" in types:
        return None
    return json_body({**schema, **definitions})
