"""From a request and output tokens to deltas: markers that are special tokens included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders

from neuron_runtime.engine.admission import Admission
from neuron_runtime.engine.choices import Choices
from neuron_runtime.engine.model_facts import ModelFacts
from neuron_runtime.engine.output_text import OutputText
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.request_output import call_grammar_of, output_text_of
from neuron_runtime.engine.sequence import FinishReason
from neuron_runtime.engine.sequence import Sequence as Generated
from neuron_runtime.engine.tokenizer import Tokenizer
from tests.unit.engine.admitting import admit
from tests.unit.engine.realistic_templates import template
from tests.unit.engine.tiny_model import END, FIRST_WORD, make_model_dir, make_tokenizer
from transports.failures import FailureCode
from transports.schemas.generate import (
    Generate,
    SamplingOptions,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = '<tool_call>{"name": "f", "arguments": {"a": "é🙂"}}</tool_call>'
OPENED = "<|im_start|>assistant\n<think>\n"


def tokenizer(name: str, *special: str) -> Tokenizer:
    core = make_tokenizer()
    core.add_special_tokens([AddedToken(text, special=True) for text in special])
    return Tokenizer(core, {}, template(name))


QWEN = tokenizer("qwen", "<think>", "</think>", "<tool_call>", "</tool_call>")
MISTRAL = tokenizer("mistral", "[TOOL_CALLS]", "[ARGS]")
LLAMA = tokenizer("llama")


def question(**fields: Any) -> Generate:
    return Generate("r", "tiny", [{"role": "user", "content": "hi"}], **fields)


def read(
    tokens: Sequence[int], output: OutputText, logprobs: Sequence[TokenLogprob] = ()
) -> list[TextDelta]:
    """Return the deltas of ``tokens``, read until the output stops."""
    deltas = []
    for at, token in enumerate(tokens):
        deltas.append(output.push(token, logprobs[at] if logprobs else None))
        if output.stopped:
            break
    deltas.append(output.finish())
    return [delta for delta in deltas if delta is not None]


def joined(deltas: Sequence[TextDelta]) -> tuple[str, str, dict[int, tuple[str, str, str]]]:
    """Return text, reasoning, and each call's id, name and arguments."""
    calls: dict[int, tuple[str, str, str]] = {}
    for delta in deltas:
        for call in delta.tool_calls:
            id_, name, arguments = calls.get(call.index, ("", "", ""))
            calls[call.index] = (id_ + call.id, name + call.name, arguments + call.arguments)
    text = "".join(delta.text for delta in deltas)
    return text, "".join(delta.reasoning for delta in deltas), calls


def test_reasoning_answer_and_call_are_told_apart_in_one_stream() -> None:
    output = output_text_of(QWEN, question(tools=(TOOL,)), QWEN.encode(OPENED), choice=2)
    tokens = [*QWEN.encode(f"Hm.\n</think>\n\nYes.{CALL}"), END]

    deltas = read(tokens, output)
    text, reasoning, calls = joined(deltas)

    assert (text, reasoning) == ("Yes.", "Hm.")
    assert calls[0][1:] == ("f", '{"a": "é🙂"}')
    assert output.called_tools
    assert {delta.choice for delta in deltas} == {2}
    assert output.reasoning_tokens == len(QWEN.encode("Hm.\n</think>"))
    assert sum(delta.reasoning_tokens for delta in deltas) == output.reasoning_tokens
    covered = [token for delta in deltas for token in delta.tokens]
    assert covered == tokens[: len(covered)]
    assert [delta.index for delta in deltas] == [
        sum(len(earlier.tokens) for earlier in deltas[:at]) for at in range(len(deltas))
    ]


prose = st.text("ab <é🙂\n", min_size=1, max_size=6).map(lambda text: f"x{text}x")


@given(
    thought=prose,
    said=prose,
    given_arguments=st.lists(st.dictionaries(prose, prose, max_size=2), max_size=3),
    opened=st.booleans(),
)
def test_no_marker_is_ever_shown_and_nothing_is_lost(
    thought: str, said: str, given_arguments: list[dict[str, str]], opened: bool
) -> None:
    calls = [json.dumps(arguments, ensure_ascii=False) for arguments in given_arguments]
    blocks = [
        f'\n<tool_call>\n{{"name": "f", "arguments": {call}}}\n</tool_call>' for call in calls
    ]
    before = "" if opened else "<think>\n"
    written = f"{before}{thought}\n</think>\n\n{said}{''.join(blocks)}"
    prompt = QWEN.encode(OPENED if opened else "<|im_start|>assistant\n")
    output = output_text_of(QWEN, question(tools=(TOOL,)), prompt)

    text, reasoning, read_calls = joined(read(QWEN.encode(written), output))

    assert reasoning == thought
    # Before the first call, a line break might as well be the model's own.
    assert text == said + ("\n" if calls else "")
    assert [call[1:] for call in read_calls.values()] == [("f", call) for call in calls]


def test_ids_of_calls_are_those_that_the_models_template_takes() -> None:
    def ids(tokens: Tokenizer, text: str) -> list[str]:
        output = output_text_of(tokens, question(tools=(TOOL,)), ())
        return [call[0] for call in joined(read(tokens.encode(text), output))[2].values()]

    for id_ in (mistral := ids(MISTRAL, "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]f[ARGS]{}")):
        assert len(id_) == 9
        assert id_.isalnum()
    assert len(set(mistral)) == 2
    (qwen,) = ids(QWEN, CALL)
    assert qwen.startswith("call_")


def test_special_tokens_are_hidden_but_for_markers_that_are_looked_for() -> None:
    tokens = [*QWEN.encode("a"), END, *QWEN.encode(CALL)]

    def text_of(**fields: Any) -> str:
        return joined(read(tokens, output_text_of(QWEN, question(**fields), ())))[0]

    without_markers = 'a{"name": "f", "arguments": {"a": "é🙂"}}'
    assert text_of() == without_markers
    assert text_of(tools=(TOOL,)) == "a"
    assert text_of(tools=(TOOL,), tool_choice="none") == without_markers
    assert text_of(tools=(TOOL,), prompt="a bare prompt") == without_markers


def test_a_character_that_a_marker_cuts_off_is_shown_broken_before_it() -> None:
    first, *_ = QWEN.encode("é")
    output = output_text_of(QWEN, question(tools=(TOOL,)), ())

    text, _, calls = joined(read([first, *QWEN.encode(CALL)], output))

    assert text == "\ufffd"
    assert len(calls) == 1


def test_one_call_at_a_time_stops_where_the_second_begins() -> None:
    fields = {"tools": (TOOL,), "parallel_tool_calls": False}
    output = output_text_of(QWEN, question(**fields), ())

    deltas = read(QWEN.encode(f"{CALL}\n{CALL} more"), output)

    assert output.stopped
    assert list(joined(deltas)[2]) == [0]
    assert joined(deltas)[0] == ""


@pytest.mark.parametrize(
    ("text", "end", "told"),
    [
        (CALL, FinishReason.STOP, "tool_calls"),
        (CALL, FinishReason.LENGTH, "length"),
        ("none", FinishReason.STOP, "stop"),
    ],
)
def test_an_output_that_ends_well_with_calls_ends_for_them(
    text: str, end: FinishReason, told: str
) -> None:
    output = output_text_of(QWEN, question(tools=(TOOL,)), ())
    choices = Choices([(Generated(1, (1, 2, 3)), output)])
    for token in QWEN.encode(text):
        choices.push(1, token, None)
    choices.finish(1, end)

    assert choices.done(0.0).finish_reason == told


def test_what_may_be_a_stop_string_in_a_second_call_is_not_the_first_ones() -> None:
    words = ("<tool_call>", "</tool_call>", '{"name": "f", "arguments": {"a": 1}}', ': {"')
    core = make_tokenizer()
    core.add_tokens(list(words))
    tokenizer_ = Tokenizer(core, {}, template("qwen"))
    fields = {"tools": (TOOL,), "parallel_tool_calls": False}
    output = output_text_of(
        tokenizer_, question(sampling=SamplingOptions(stop=('"\n',)), **fields), ()
    )
    first = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'

    deltas = read(tokenizer_.encode(f'{first}<tool_call>{{"name": "f", "arguments": {{"'), output)

    assert output.stopped
    assert [each[2] for each in joined(deltas)[2].values()] == ['{"a": 1}']


def test_a_stop_string_ends_a_call_too() -> None:
    stop = SamplingOptions(stop=("é",))
    output = output_text_of(QWEN, question(tools=(TOOL,), sampling=stop), ())

    deltas = read(QWEN.encode(CALL), output)

    assert output.stopped
    assert joined(deltas)[2][0][2] == '{"a": "'


@pytest.mark.parametrize(
    ("fields", "shown"),
    [({"prompt": "It is"}, " w259"), ({"continue_final": True}, " w259"), ({}, "w259")],
)
def test_an_output_that_goes_on_from_a_text_begins_with_its_space(
    fields: dict[str, Any], shown: str
) -> None:
    core = make_tokenizer()
    core.decoder = decoders.Sequence(
        [decoders.Replace("Ġ", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer_ = Tokenizer(core, {}, template("llama"))
    output = output_text_of(tokenizer_, question(**fields), tokenizer_.encode("It is"))

    assert joined(read([FIRST_WORD], output))[0] == shown


def test_the_state_says_when_a_constraint_applies() -> None:
    output = output_text_of(QWEN, question(), QWEN.encode(OPENED))
    states = []
    for token in QWEN.encode("a</think>b"):
        states.append(output.in_reasoning)
        output.push(token)

    assert states == [True, True, False]
    assert not output.in_reasoning
    assert not output.called_tools


def test_bare_json_is_a_call_for_models_without_markers() -> None:
    output = output_text_of(LLAMA, question(tools=(TOOL,)), ())

    deltas = read(LLAMA.encode('{"name": "f", "parameters": {"a": 1}}'), output)

    assert joined(deltas)[2][0][1:] == ("f", '{"a": 1}')
    first = next(call for delta in deltas for call in delta.tool_calls)
    assert (first.index, first.name, bool(first.id)) == (0, "f", True)


OTHER = {"type": "function", "function": {"name": "g"}}


def test_a_grammar_is_for_what_the_request_demands() -> None:
    def grammar(**fields: Any) -> str:
        found = call_grammar_of(QWEN, question(tools=(TOOL, OTHER), **fields))
        return found or ""

    assert grammar() == ""
    assert grammar(tool_choice="none") == ""
    required = grammar(tool_choice="required")
    assert '\\"f\\"' in required
    assert '\\"g\\"' in required
    named = grammar(tool_choice="g")
    assert '\\"g\\"' in named
    assert '\\"f\\"' not in named
    with pytest.raises(ValueError, match="nobody"):
        grammar(tool_choice="nobody")
    with pytest.raises(ValueError, match="name of its own"):
        call_grammar_of(QWEN, question(tools=({"function": {}},), tool_choice="required"))
    assert call_grammar_of(QWEN, question(tool_choice="required")) is None
    either = call_grammar_of(QWEN, question(tools=(TOOL,)), "/[0-9]+/")
    assert either is not None
    assert "answer: /[0-9]+/" in either
    demanded = call_grammar_of(QWEN, question(tools=(TOOL,), tool_choice="f"), "/[0-9]+/")
    assert demanded is not None
    assert "answer" not in demanded


def test_a_request_whose_tools_cannot_be_shown_is_refused_by_name(tmp_path: Path) -> None:
    model_dir = make_model_dir(tmp_path, template=template("smollm2"))
    admission = Admission("tiny", Tokenizer.load(model_dir), ModelFacts(), lambda: 1)

    with pytest.raises(Refused) as caught:
        admit(admission, question(tools=(TOOL,)))

    assert caught.value.failure.code == FailureCode.INVALID_REQUEST
    assert caught.value.failure.param == "tools"


@given(st.text("ab<think>/🙂", max_size=20))
def test_each_shown_token_has_its_log_probability_in_the_same_delta(text: str) -> None:
    tokens = QWEN.encode(text)
    logprobs = [TokenLogprob(f"t{at}", -float(at)) for at in range(len(tokens))]
    deltas = read(tokens, output_text_of(QWEN, question(), ()), logprobs)

    for delta in deltas:
        own = logprobs[delta.index : delta.index + len(delta.tokens)]
        assert list(delta.logprobs) == own


def test_pieces_of_one_delta_are_put_together() -> None:
    core = make_tokenizer()
    core.add_tokens([AddedToken(CALL, normalized=False)])
    tokens = Tokenizer(core, {}, template("qwen"))
    output = output_text_of(tokens, question(tools=(TOOL,)), ())

    (delta,) = read(tokens.encode(CALL), output)

    assert delta.tool_calls == (ToolCallDelta(0, delta.tool_calls[0].id, "f", '{"a": "é🙂"}'),)
