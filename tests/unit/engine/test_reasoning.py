"""Reasoning apart from the answer, and which format a template means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.engine.parsers.formats import OutputFormat
from neuron_runtime.engine.parsers.reasoning import ReasoningParser
from tests.unit.engine.parsing import Parsed, cut, parse
from tests.unit.engine.realistic_templates import template

TAGS = ("<think>", "</think>")
QWEN = "{{ tools }}<think></think><tool_call>"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

texts = st.lists(
    st.sampled_from([*TAGS, "<", "think>", "</", "\n", " ", "word", "<tool_call>"]), max_size=14
).map("".join)
borders = st.lists(st.integers(0, 200), max_size=12)


def split(text: str, *, opened: bool = False) -> Parsed:
    return parse(ReasoningParser(*TAGS, opened=opened), [text])


@given(text=texts, points=borders, opened=st.booleans())
def test_any_pieces_are_split_like_the_whole(text: str, points: list[int], opened: bool) -> None:
    wanted = split(text, opened=opened)

    assert parse(ReasoningParser(*TAGS, opened=opened), cut(text, points)) == wanted
    assert parse(ReasoningParser(*TAGS, opened=opened), text) == wanted


@given(before=st.text("ab<", max_size=5), inner=st.text("ab</", max_size=5), after=st.text("ab<>/"))
def test_tags_are_never_shown_and_nothing_else_is_lost(before: str, inner: str, after: str) -> None:
    assert split(f"{before}<think>\n{inner}\n</think>\n\n{after}") == Parsed(before + after, inner)


@pytest.mark.parametrize(
    ("text", "opened", "content", "reasoning"),
    [
        ("Hm.\n</think>\n\nYes.", True, "Yes.", "Hm."),
        ("<think>\nHm.\n</think>\n\nYes.", True, "Yes.", "Hm."),
        ("\n<think>Hm.</think>Yes.", False, "Yes.", "Hm."),
        ("Never closed", True, "", "Never closed"),
        ("Yes.", False, "Yes.", ""),
        ("\nYes.", False, "\nYes.", ""),
        ("Yes.</think> No.", False, "Yes. No.", ""),
        ("a\n\nb\n", True, "", "a\n\nb"),
        ("<think>1</think>A<think>2</think>B", False, "AB", "12"),
        ("\n\n</think>\n\n", True, "", ""),
    ],
)
def test_the_ways_that_models_vary(text: str, opened: bool, content: str, reasoning: str) -> None:
    assert split(text, opened=opened) == Parsed(content, reasoning)


def test_only_what_may_become_a_tag_is_held_back() -> None:
    parser = ReasoningParser(*TAGS, opened=True)
    seen = Parsed()

    seen.add(parser.push("Hm, 1 < 2"))
    assert seen.reasoning == "Hm, 1 < 2"
    seen.add(parser.push(" </th"))
    assert seen.reasoning == "Hm, 1 < 2 "
    was_inside = parser.in_reasoning
    seen.add(parser.push("ink>Yes"))
    assert (was_inside, parser.in_reasoning) == (True, False)
    assert seen == Parsed("Yes", "Hm, 1 < 2 ")


@pytest.mark.parametrize(
    ("text", "reasoning", "calls"),
    [
        ("{{ messages }}", None, "llama3_json"),
        (QWEN, TAGS, "hermes"),
        ("<tool_call><function=x><parameter=y></think>", TAGS, "qwen3_coder"),
        ("[TOOL_CALLS][ARGS][THINK][/THINK]", ("[THINK]", "[/THINK]"), "mistral"),
        ("<|python_tag|>", None, "llama3_json"),
        ("<|channel|>analysis<|message|>", None, "harmony"),
    ],
)
def test_a_template_tells_the_format(
    text: str, reasoning: tuple[str, str] | None, calls: str
) -> None:
    found = OutputFormat.of_template(text)

    assert (found.reasoning, found.calls.name) == (reasoning, calls)


@pytest.mark.parametrize(
    ("name", "calls", "thinks"),
    [
        ("qwen", "hermes", True),
        ("qwen_coder", "qwen3_coder", False),
        ("llama", "llama3_json", False),
        ("mistral", "mistral_list", False),
        ("smollm2", "llama3_json", False),
    ],
)
def test_realistic_templates_tell_theirs(name: str, calls: str, thinks: bool) -> None:
    found = OutputFormat.of_template(template(name))

    assert (found.calls.name, found.reasoning is not None) == (calls, thinks)


def test_reasoning_is_open_when_the_prompt_ends_with_its_tag() -> None:
    qwen = OutputFormat.of_template(QWEN)
    text = "Hm.</think>Yes.<tool_call>"

    for prompt, reasoning in (("user: <think> assistant:\n<think>\n", "Hm."), ("a <think> b", "")):
        parser = qwen.parser(prompt)
        assert parser is not None
        assert parse(parser, [text]).reasoning == reasoning


def test_calls_are_looked_for_only_when_tools_are_offered() -> None:
    qwen = OutputFormat.of_template(QWEN)
    text = '<think>1</think>\n\n<tool_call>{"name": "f"}</tool_call>'
    without, offered = qwen.parser(""), qwen.parser("", (TOOL,))
    assert without is not None
    assert offered is not None

    assert parse(without, [text]).content == '<tool_call>{"name": "f"}</tool_call>'
    assert parse(offered, [text]) == Parsed("", "1", [("f", "{}")])
    assert OutputFormat.of_template("plain").parser("") is None
    assert "<tool_call>" in qwen.markers(tools=True)
    assert "<tool_call>" not in qwen.markers(tools=False)
