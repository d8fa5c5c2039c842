"""A forced call is what its format's parser reads back; decided by the library that enforces it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from neuron_runtime.engine.parsers.call_grammar import call_grammar, json_body
from neuron_runtime.engine.parsers.formats import FORMATS_BY_NAME
from tests.unit.engine.parsing import parse
from tests.unit.engine.test_call_parsers import WRITERS

llguidance = pytest.importorskip("llguidance")

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "$defs": {"place": {"type": "object", "properties": {"x": {"type": "integer"}}}},
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "unit": {"enum": ["C", "F"]},
                    "near": {
                        "type": "object",
                        "properties": {"a": {"$ref": "#/$defs/place"}},
                        "additionalProperties": False,
                    },
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
)
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("weather", {"city": "O\n</p>"}),
    ("weather", {"city": "Os", "days": -3, "unit": "F", "near": {"a": {"x": 1}}}),
    ("now", {}),
]
BAD: list[tuple[str, dict[str, Any]]] = [
    ("weather", {"days": 3}),
    ("weather", {"city": "Os", "days": "many"}),
    ("weather", {"city": "Os", "unit": "K"}),
    ("now", {"city": "Os"}),
    ("other", {}),
]
NAMES = sorted(FORMATS_BY_NAME)
BYTES = llguidance.LLTokenizer("byte")


def accepts(grammar: str, text: str) -> bool:
    assert not llguidance.LLMatcher.validate_grammar(llguidance.grammar_from("lark", grammar))
    matcher = llguidance.LLMatcher(BYTES, llguidance.grammar_from("lark", grammar))
    tokens = BYTES.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def written(name: str, call: str, arguments: Mapping[str, Any]) -> str:
    # The end of harmony's calls is an end token, which no grammar holds.
    return WRITERS[name](call, dict(arguments)).removesuffix("<|call|>")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("call", "arguments"), GOOD)
def test_a_call_is_accepted_and_read_back(name: str, call: str, arguments: dict[str, Any]) -> None:
    text = written(name, call, arguments)

    assert accepts(call_grammar(name, TOOLS), text)
    (read,) = parse(FORMATS_BY_NAME[name].make(TOOLS), [text]).calls
    assert (read[0], json.loads(read[1])) == (call, arguments)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("call", "arguments"), BAD)
def test_anything_else_is_not(name: str, call: str, arguments: dict[str, Any]) -> None:
    grammar = call_grammar(name, TOOLS)

    assert not accepts(grammar, written(name, call, arguments))
    assert not accepts(grammar, "")
    assert not accepts(grammar, "An answer.")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, "-7", "007"),
        ({"type": "integer", "minimum": 5}, "5", "3"),
        ({"type": "number"}, "1.5", "1."),
        ({"type": "boolean"}, "true", "True"),
        ({"type": ["integer", "null"]}, "null", "none"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "12", "twelve"),
        ({"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}, "3", "x"),
        ({"anyOf": [{"$ref": "#/definitions/n"}, {"type": "null"}]}, "null", "3.5"),
    ],
)
def test_a_parameter_in_plain_text_is_what_its_schema_says(
    schema: dict[str, Any], good: str, bad: str
) -> None:
    defined = {"n": {"type": "integer"}}
    parameters = {"$defs": defined, "definitions": defined, "properties": {"a": schema}}
    tools = ({"type": "function", "function": {"name": "f", "parameters": parameters}},)
    grammar = call_grammar("qwen3_coder", tools)

    assert accepts(grammar, written("qwen3_coder", "f", {"a": good}))
    assert not accepts(grammar, written("qwen3_coder", "f", {"a": bad}))


@pytest.mark.parametrize("name", ["hermes", "llama3_json", "mistral", "qwen3_coder"])
def test_several_calls_unless_only_one_is_wanted(name: str) -> None:
    between = {"hermes": "\n", "qwen3_coder": "\n", "llama3_json": "; ", "mistral": ""}[name]
    text = between.join(written(name, call, arguments) for call, arguments in GOOD)

    assert accepts(call_grammar(name, TOOLS), text)
    assert not accepts(call_grammar(name, TOOLS, parallel=False), text)
    assert len(parse(FORMATS_BY_NAME[name].make(TOOLS), [text]).calls) == len(GOOD)


def test_an_answer_of_its_own_form_may_be_allowed_instead() -> None:
    grammar = call_grammar("hermes", TOOLS, answer=json_body({"type": "integer"}))

    assert accepts(grammar, "42")
    assert accepts(grammar, written("hermes", "now", {}))
    assert not accepts(grammar, "maybe")


def test_markers_that_are_special_tokens_are_asked_for_by_id() -> None:
    grammar = call_grammar("mistral", TOOLS, special={"[TOOL_CALLS]": 5, "[ARGS]": 9})

    assert '<[5]> "now" <[9]>' in grammar
    assert "TOOL_CALLS" not in grammar
    assert not llguidance.LLMatcher.validate_grammar(llguidance.grammar_from("lark", grammar))
