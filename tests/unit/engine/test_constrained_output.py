"""Constrained requests on a whole engine, whose ranks would draw something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.grammar_mask import GrammarMask
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.request_output import output_text_of
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.admitting import admit
from tests.unit.engine.engine_bench import EngineBench
from tests.unit.engine.tiny_model import CHATML, FAKE_WORDS, FIRST_WORD, make_model_dir
from transports.failures import FailureCode
from transports.schemas.generate import Constraint, Generate, SamplingOptions

MASK_BYTES = 4 * -(-(FIRST_WORD + FAKE_WORDS) // 32)
SOME = SamplingOptions(temperature=0.0, max_tokens=200)
CHOICE = Constraint("choice", '["blue", "red"]')
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "pick",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}
HERMES = (
    CHATML + "{% for tool in tools or [] %}<tools>{{ tool | tojson }}</tools>"
    '<tool_call>{"name": "", "arguments": {}}</tool_call>{% endfor %}'
)


def test_an_output_is_one_of_the_choices_and_ends_by_itself(bench: EngineBench) -> None:
    group = bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, sampling=SOME, constraint=CHOICE)

    assert answer.text == "blue"
    assert (answer.done.finish_reason, answer.done.completion_tokens) == ("stop", 5)
    # A row of the tokenizer's size went along with each of the five draws.
    assert [[len(row) for row in raw] for raw in group.raws[:5]] == [[MASK_BYTES]] * 5


def test_an_output_follows_its_schema(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(
        client, sampling=SOME, constraint=Constraint("json_schema", json.dumps(SCHEMA))
    )

    value = json.loads(answer.text)
    assert (list(value), type(value["ok"])) == (["name", "ok"], bool)
    assert answer.done.finish_reason == "stop"


def test_an_output_that_is_cut_ends_with_length(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()
    two = SamplingOptions(temperature=0.0, max_tokens=2)

    answer = bench.ask(client, sampling=two, constraint=CHOICE)

    assert (answer.text, answer.done.finish_reason) == ("bl", "length")


def test_free_and_constrained_requests_share_steps(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    free = bench.ask(client, "a")
    one = bench.ask(client, "b", SOME, constraint=CHOICE)
    two = bench.ask(client, "c", SOME, constraint=Constraint("regex", "[xy]{3}"))
    group.hold = False
    bench.step()

    assert free.text == bench.right_text(8, "a")
    assert (one.text, two.text) == ("blue", "xxx")


def test_a_constraint_goes_on_where_it_was_after_the_group_is_lost(bench: EngineBench) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client, sampling=SOME, constraint=CHOICE)
    bench.step()
    bench.step()
    group.die()
    bench.settle()
    bench.start_group()

    assert (answer.text, answer.done.finish_reason) == ("blue", "stop")


def test_a_demanded_call_is_made(tmp_path: Path) -> None:
    bench = EngineBench(make_model_dir(tmp_path, words=FAKE_WORDS, template=HERMES))
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(
        client, sampling=SOME, tools=(TOOL,), tool_choice="required", parallel_tool_calls=False
    )

    calls = [call for delta in answer.deltas for call in delta.tool_calls]
    assert [call.name for call in calls if call.name] == ["pick"]
    assert json.loads("".join(call.arguments for call in calls)) == {"colour": "blue"}


def test_reasoning_is_free_and_the_answer_is_not(tmp_path: Path) -> None:
    template = CHATML + "<think>\n{# </think> #}"
    bench = EngineBench(make_model_dir(tmp_path, words=FAKE_WORDS, template=template))
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(client, sampling=SOME, constraint=CHOICE)

    (part,) = group.steps[-1].sequences
    assert part.sample is not None
    assert not part.sample.masked
    bench.step()
    assert "".join(delta.reasoning for delta in answer.deltas) == bench.right_text(1)
    assert group.steps[-1].rounds == 1, "the next token may be the one that ends it"


def test_the_grammar_begins_where_the_reasoning_ends(tmp_path: Path) -> None:
    model_dir = make_model_dir(tmp_path, template=CHATML + "<think>\n{# </think> #}")
    tokenizer = Tokenizer.load(model_dir)
    admission = Admission("m", tokenizer, ModelFacts.load(model_dir), lambda: 1)
    question = Generate("r", "m", [{"role": "user", "content": "hi"}], constraint=CHOICE)
    (sequence,) = admit(admission, question)
    text = output_text_of(tokenizer, question, sequence.prompt)
    mask = sequence.mask
    assert isinstance(mask, GrammarMask)
    mask.suspended = lambda: text.in_reasoning

    for token in tokenizer.encode("red or blue?</think>"):
        assert mask.mask() is None
        assert mask.accept(token)
        text.push(token)
    assert not mask.may_end
    for token in tokenizer.encode("blue"):
        row = mask.mask()
        assert row is not None
        assert row[token // 8] >> token % 8 & 1
        assert mask.accept(token)
        text.push(token)
    assert mask.may_end


@pytest.mark.parametrize(
    ("more", "param", "said"),
    [
        ({"constraint": Constraint("json_schema", '{"not": {}}')}, "constraint", '"not"'),
        ({"constraint": Constraint("regex", "(a")}, "constraint", "unclosed group"),
        ({"constraint": Constraint("haiku")}, "constraint", "haiku"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(
    bench: EngineBench, more: dict[str, Any], param: str, said: str
) -> None:
    bench.start_group()
    client, _ = bench.client()

    failure = bench.ask(client, **more).failure

    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, param)
    assert failure.message.startswith(f"{param}: ")
    assert said in failure.message


def test_tools_that_cannot_be_enforced_are_refused_by_name(tmp_path: Path) -> None:
    bench = EngineBench(make_model_dir(tmp_path, words=FAKE_WORDS, template=HERMES))
    bench.start_group()
    client, _ = bench.client()
    odd = {"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}

    failure = bench.ask(client, tools=(odd,), tool_choice="required").failure
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "tools")
    other = bench.ask(client, tools=(TOOL,), tool_choice="other").failure
    assert (other.code, other.param) == (FailureCode.INVALID_REQUEST, "tool_choice")


def test_calls_that_cannot_be_followed_to_their_end_are_the_tools_fault(tmp_path: Path) -> None:
    endless = {"type": "object", "properties": {"c": {"$ref": "#"}}, "required": ["c"]}
    function = {"name": "f", "parameters": endless}
    bench = EngineBench(make_model_dir(tmp_path, words=FAKE_WORDS, template=HERMES))
    bench.start_group()
    client, _ = bench.client()

    tool = {"type": "function", "function": function}
    failure = bench.ask(client, sampling=SOME, tools=(tool,), tool_choice="required").failure
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "tools")
