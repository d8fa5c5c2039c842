"""A few characters that would keep the compiler busy neither stop the engine nor burn a core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.constraint_rule import constraint_rule
from neuron_runtime.engine.constraint_work import MOST_DIVISOR, characters_of, check_divisors
from neuron_runtime.engine.grammar import GrammarError
from neuron_runtime.engine.tokenizer import LONG_CHARACTERS
from tests.unit.engine.engine_bench import EngineBench
from tests.unit.engine.test_prompt_intake import Desk
from tests.unit.engine.tiny_model import CHATML, FAKE_WORDS, make_model_dir
from transports.failures import FailureCode
from transports.schemas.generate import Constraint, Generate

HERMES = CHATML + "{% for tool in tools or [] %}<tool_call>{{ tool | tojson }}{% endfor %}"


def tool(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 999_983},
        {"properties": {"a": {"items": [{"multipleOf": -999_983}]}}},
        {"allOf": [{"multipleOf": each} for each in (2, 3, 5, 7, 11, 13, 17)]},
        {"$ref": "#/$defs/a", "multipleOf": 7, "$defs": {"a": {"multipleOf": 0.00001}}},
    ],
)
def test_divisors_that_come_to_too_much_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(GrammarError, match="multipleOf must not come to more than 100000"):
        check_divisors(schema)
    with pytest.raises(GrammarError, match="multipleOf"):
        constraint_rule(Constraint("json_schema", json.dumps(schema)))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"multipleOf": MOST_DIVISOR},
        {"multipleOf": 0.01},
        {"multipleOf": 1e-300},
        {"multipleOf": "x"},
        {"multipleOf": True},
        {"multipleOf": 0},
        {"properties": {"multipleOf": {"type": "integer"}}},
        {"properties": {"a": {"multipleOf": 0.001}, "b": {"multipleOf": 5000}}},
        {"anyOf": [{"multipleOf": 0.25}, {"multipleOf": 100}]},
    ],
)
def test_all_others_are_left_to_the_compiler(schema: dict[str, Any]) -> None:
    check_divisors(schema)


@pytest.mark.parametrize(
    ("kind", "value", "slow"),
    [
        ("regex", "((a{99}){99}){99}", True),
        ("regex", "((((a{0,9}){9}){,9}){9,}){9}", True),
        ("json_schema", '{"pattern": "a{2000,}"}', True),
        ("json_schema", '{"pattern": "a{' + "9" * 400 + '}"}', True),
        ("json_schema", '{"multipleOf": 5003}', True),
        ("json_schema", '{"multipleOf": 5}', False),
        ("regex", r"\d{3}-\d{3,4}-x{0}", False),
        ("json_schema", '{"maxLength": 100000}', False),
        ("json_object", "", False),
    ],
)
def test_repetitions_count_as_a_long_text(kind: str, value: str, slow: bool) -> None:
    question = Generate("r", "m", [], constraint=Constraint(kind, value))
    assert (characters_of(question) > LONG_CHARACTERS) == slow


@pytest.mark.parametrize(("choice", "slow"), [("required", True), ("f", True), ("auto", False)])
def test_so_do_those_of_calls_that_are_demanded(choice: str, slow: bool) -> None:
    tools = (tool(properties={"a": {"type": "string", "pattern": "(a{50}){50}"}}),)
    question = Generate("r", "m", [], tools=tools, tool_choice=choice)
    assert (characters_of(question) > LONG_CHARACTERS) == slow


def test_others_are_served_while_repetitions_are_compiled(model_dir: Path) -> None:
    desk = Desk(model_dir)
    repeated = desk.ask("hi", constraint=Constraint("regex", "(ab){2}|(c{50}){50}"))

    assert desk.ask("hi").done.finish_reason == "length"
    assert not repeated.ends
    desk.go_on()
    assert repeated.text == "abab"


def test_divisors_of_a_demanded_call_are_the_tools_fault(tmp_path: Path) -> None:
    bench = EngineBench(make_model_dir(tmp_path, words=FAKE_WORDS, template=HERMES))
    bench.start_group()
    client, _ = bench.client()
    tools = (tool(properties={"a": {"type": "integer", "multipleOf": 999_983}}),)

    answer = bench.ask(client, "hi", tools=tools, tool_choice="required")
    while not answer.ends:
        bench.settle()

    assert (answer.failure.code, answer.failure.param) == (FailureCode.INVALID_REQUEST, "tools")
