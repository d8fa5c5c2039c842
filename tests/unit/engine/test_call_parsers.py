"""Every format of calls: whatever the pieces, the calls and the content are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.engine.parsers.formats import FORMATS_BY_NAME
from neuron_runtime.engine.parsers.pieces import CallArguments, CallBegan, OutputParser
from neuron_runtime.engine.parsers.reading_parser import ReadingParser
from tests.unit.engine.parsing import Parsed, cut, parse

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "deep": {"type": "object"},
    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "unit": {"enum": ["C", "F"]},
}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": {"properties": PROPERTIES}}}
    for name in ("weather", "f")
)
NAMES = sorted(FORMATS_BY_NAME)


def parser(name: str) -> OutputParser:
    return FORMATS_BY_NAME[name].make(TOOLS)


def whole(name: str, text: str) -> Parsed:
    return parse(parser(name), [text])


def hermes(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def llama(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "parameters": arguments})


def mistral(name: str, arguments: dict[str, Any]) -> str:
    return f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}"


def harmony(name: str, arguments: dict[str, Any]) -> str:
    return (
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{json.dumps(arguments)}<|call|>"
    )


def qwen(name: str, arguments: dict[str, Any]) -> str:
    lines = [f"<tool_call>\n<function={name}>\n"]
    for key, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"<parameter={key}>\n{text}\n</parameter>\n")
    return "".join([*lines, "</function>\n</tool_call>"])


WRITERS: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "hermes": hermes,
    "llama3_json": llama,
    "mistral": mistral,
    "mistral_list": lambda name, arguments: (
        f"[TOOL_CALLS] {json.dumps([{'name': name, 'arguments': arguments}])}"
    ),
    "harmony": harmony,
    "qwen3_coder": qwen,
}
FRAGMENTS = [
    *("<tool_call>", "</tool_call>", "<function=f>", "</function>", "<function="),
    *("<parameter=city>", "<parameter=deep>", "</parameter>", "<|python_tag|>"),
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|channel|>", "<|message|>", "<|end|>", "<|start|>"),
    *("commentary to=functions.f", "analysis", "final", "<|call|>", "[", "]", ","),
    *('{"name": "f", "arguments": {"city": "x"}}', '{"name": "f", ', '"arguments": {', '"a": "'),
    *('"', "}", "{", "\\", "null", "1", "\n", " ", "f", "text ", "é", ";"),
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
borders = st.lists(st.integers(0, 500), max_size=12)
ODD_STRINGS = ["</tool_call>", "a\nb\n", "{", '"', "<|call|>", '\\"<|end|>', "<|start|>\\"]
inside_strings = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "city": st.one_of(inside_strings, st.sampled_from(ODD_STRINGS)),
        "days": st.integers(-99, 99),
        "deep": st.dictionaries(inside_strings, st.none() | st.booleans() | inside_strings),
    },
)
calls = st.lists(st.tuples(st.sampled_from(["weather", "f"]), arguments), min_size=1, max_size=3)


@pytest.mark.parametrize("name", NAMES)
@given(text=fragments, points=borders)
def test_any_text_in_any_pieces_is_parsed_like_the_whole(
    name: str, text: str, points: list[int]
) -> None:
    wanted = whole(name, text)

    assert parse(parser(name), cut(text, points)) == wanted
    assert parse(parser(name), text) == wanted


@pytest.mark.parametrize("name", NAMES)
@given(wanted=calls, points=borders)
def test_calls_are_read_back_as_they_were_written(
    name: str, wanted: list[tuple[str, dict[str, Any]]], points: list[int]
) -> None:
    text = "\n".join(WRITERS[name](*call) for call in wanted)

    parsed = parse(parser(name), cut(text, points))

    assert [(called, json.loads(given)) for called, given in parsed.calls] == wanted
    assert parsed.content == ""


@given(wanted=calls)
def test_the_older_list_of_mistral_is_read_too(wanted: list[tuple[str, dict[str, Any]]]) -> None:
    listed = [{"name": name, "arguments": given, "id": "abcdefghi"} for name, given in wanted]
    parsed = whole("mistral", f"Hm.[TOOL_CALLS] {json.dumps(listed)}")

    assert [(called, json.loads(given)) for called, given in parsed.calls] == wanted
    assert parsed.content == "Hm."


@pytest.mark.parametrize("name", [name for name in NAMES if name != "harmony"])
@given(text=st.text("abc <{[\n", max_size=20))
def test_text_without_calls_stays_as_it_is(name: str, text: str) -> None:
    assert whole(name, text) == Parsed(content=text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", "a <tool_call>\nnothing\n</tool_call> b"),
        ("hermes", "<tool_call>[]</tool_call>"),
        ("hermes", '<tool_call>{"arguments": {"a": 1}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": 3}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "arguments": "3"}</tool_call>'),
        ("hermes", '<tool_call>{"name": 7, "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "f", "argu'),
        ("hermes", "</tool_call>"),
        ("llama3_json", '{"name": "unknown", "parameters": {}}'),
        ("llama3_json", '{"answer": 42}'),
        ("llama3_json", '<|python_tag|>brave_search.call(query="x")'),
        ("llama3_json", 'Use {"name": "f", "parameters": {}} here'),
        ("mistral", "[TOOL_CALLS] of the wild"),
        ("mistral", "[TOOL_CALLS][1]"),
        ("mistral", "[TOOL_CALLS]f[ARGS]3"),
        ("qwen3_coder", "<tool_call>\nhello</tool_call>"),
        ("qwen3_coder", "<function=f>\nhello</function>"),
        ("qwen3_coder", "<function=f"),
    ],
)
def test_what_is_no_call_comes_out_as_content(name: str, text: str) -> None:
    assert whole(name, text) == Parsed(content=text)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        # The keys in another order, arguments as a string, none at all, and further keys.
        (
            "hermes",
            '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>',
            [("f", '{"a": 1}')],
        ),
        (
            "hermes",
            '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
            [("f", '{"a": 1}')],
        ),
        ("hermes", '<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
        ("hermes", '<tool_call>{"name": "f", "arguments": null}', [("f", "{}")]),
        (
            "hermes",
            '<tool_call>{"x": [{"}": 1}], "y": true, "name": "f", "arguments": {}}</tool_call>',
            [("f", "{}")],
        ),
        # The model forgot to close the outer object.
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1}\n</tool_call>', None),
        # Cut off by the length limit: the call is there, its arguments visibly incomplete.
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "b', [("f", '{"a": "b')]),
        ("llama3_json", '<|python_tag|>{"name": "f", "parameters": {}}', [("f", "{}")]),
        (
            "llama3_json",
            '{"name": "f", "parameters": {}}; {"name": "weather", "parameters": {}}',
            [("f", "{}"), ("weather", "{}")],
        ),
        ("mistral", "[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{}", [("f", "{}")]),
        ("mistral", '[TOOL_CALLS]f{"a": 1}', [("f", '{"a": 1}')]),
        ("qwen3_coder", "<function=f>\n</function>", [("f", "{}")]),
        (
            "qwen3_coder",
            "<tool_call><function=f><parameter=city>a</parameter> b</parameter></function>",
            [("f", '{"city": "a</parameter> b"}')],
        ),
        (
            "qwen3_coder",
            "<function=f><parameter=days>3</parameter><parameter=maybe>null</parameter>"
            "<parameter=unit>C</parameter><parameter=new>True</parameter></function>",
            [("f", '{"days": 3, "maybe": null, "unit": "C", "new": true}')],
        ),
        (
            "qwen3_coder",
            "<function=f><parameter=days>NaN</parameter><parameter=new>-Infinity</parameter>"
            "<parameter=deep>[NaN]</parameter></function>",
            [("f", '{"days": "NaN", "new": "-Infinity", "deep": "[NaN]"}')],
        ),
        ("qwen3_coder", "<function=f>\n<parameter=city>\nOs", [("f", '{"city": "Os')]),
    ],
)
def test_the_ways_that_models_vary(
    name: str, text: str, wanted: list[tuple[str, str]] | None
) -> None:
    assert whole(name, text) == Parsed(calls=wanted or [("f", '{"a": 1}')])


def test_text_around_calls_stays_and_the_layout_between_them_does_not() -> None:
    text = f"Let me see.\n{hermes('f', {})}\n{hermes('f', {})}\n\nDone."

    parsed = whole("hermes", text)

    assert parsed.content == "Let me see.\n\n\nDone."
    assert len(parsed.calls) == 2


@pytest.mark.parametrize("name", NAMES)
def test_arguments_come_while_they_are_written(name: str) -> None:
    text = WRITERS[name]("f", {"city": "Zanzibar"})
    at = text.index("Zanz") + 4
    streaming = parser(name)

    pieces = streaming.push(text[:at])

    assert pieces[0] == CallBegan("f")
    told = "".join(piece.text for piece in pieces if isinstance(piece, CallArguments))
    assert told == '{"city": "Zanz'


@pytest.mark.parametrize("name", ["hermes", "mistral_list"])
@pytest.mark.parametrize(
    ("written", "call"),
    [
        (r'{"name": "f\ud83d", "arguments": {}}', ("f\ufffd", "{}")),
        (r'{"name": "f", "arguments": "{\"a\": \"\ud83d\"}"}', ("f", '{"a": "\ufffd"}')),
        (r'{"name": "f", "arguments": "{\"a\": \"\ud83d\ude00\"}"}', ("f", '{"a": "\U0001f600"}')),
    ],
)
def test_half_of_a_surrogate_pair_is_nothing_that_a_message_cannot_hold(
    name: str, written: str, call: tuple[str, str]
) -> None:
    text = f"<tool_call>{written}</tool_call>" if name == "hermes" else f"[TOOL_CALLS][{written}]"

    assert whole(name, text).calls == [call]


def test_nesting_without_end_is_no_call_and_no_crash() -> None:
    deep = '{"a":' * 100_000
    for name, text in (
        ("hermes", f'<tool_call>{{"name": "f", "arguments": {json.dumps(deep)}}}</tool_call>'),
        ("qwen3_coder", f"<function=f><parameter=deep>{deep}</parameter></function>"),
    ):
        parsed = whole(name, text)
        assert (parsed.content == text) == (name == "hermes")
        assert len(parsed.calls) == (name != "hermes")


@pytest.mark.parametrize("name", ["hermes", "llama3_json", "mistral", "qwen3_coder"])
def test_a_long_call_is_not_kept_while_it_is_written(name: str) -> None:
    streaming = parser(name)
    assert isinstance(streaming, ReadingParser)
    text = WRITERS[name]("f", {"city": "x" * 10_000})

    for at in range(0, len(text) // 2, 10):
        streaming.push(text[at : at + 10])
        assert len(streaming._source._text) < 200


def test_harmony_tells_its_channels_apart() -> None:
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.f <|constrain|>json<|message|>{"a": 1}<|end|><|start|>assistant'
        "<|channel|>final<|message|>Yes.<|return|>"
    )

    parsed = whole("harmony", text)

    assert parsed == Parsed("Yes.", "Hm.", [("f", '{"a": 1}')])
    assert whole("harmony", "Just text.").content == "Just text."
