"""What a request's constraint says, as the body of a rule in llguidance's Lark. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from llguidance import regex_to_lark

from neuron_runtime.engine.constraint_work import check_divisors
from neuron_runtime.engine.grammar import GrammarError
from neuron_runtime.engine.parsers.call_grammar import json_body
from transports.schemas.generate import Constraint

_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$/#&~-])")


def constraint_rule(constraint: Constraint) -> str:
    """Return the rule's body; whether it can be compiled is another question.

    Raises:
        GrammarError: There is no such kind, or its value is not what the kind needs.
    """
    match constraint.kind:
        case "json_object":
            return json_body({"type": "object"})
        case "json_schema":
            return _schema(_decoded(constraint.value))
        case "regex":
            return _pattern(constraint.value, "d")
        case "choice":
            return _choice(_decoded(constraint.value))
    msg = f"there is no constraint of kind {constraint.kind!r}"
    raise GrammarError(msg)


def _schema(schema: Any) -> str:
    if not isinstance(schema, dict):
        msg = "a JSON schema must be an object"
        raise GrammarError(msg)
    check_divisors(schema)
    # The compiler's own options are not the client's: one of them has it ignore keywords.
    return json_body({key: value for key, value in schema.items() if key != "x-guidance"})


def _choice(choices: Any) -> str:
    if not isinstance(choices, list) or not all(isinstance(each, str) for each in choices):
        msg = "choices must be strings"
        raise GrammarError(msg)
    if not any(choices):
        msg = "there is nothing to choose from"
        raise GrammarError(msg)
    # One pattern, not one rule with many alternatives: no number of them is too large.
    return _pattern("|".join(_SPECIAL.sub(r"\\\1", each) for each in choices), "")


def _pattern(pattern: str, ascii_classes: str) -> str:
    if not pattern:
        msg = "the pattern is empty"
        raise GrammarError(msg)
    return f"/{regex_to_lark(pattern, ascii_classes)}/"


def _decoded(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        msg = f"not valid JSON: {error}"
        raise GrammarError(msg) from error
