"""Outputs that follow their masks are what was asked for, and end where they may end."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import llguidance
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.engine import grammar as grammar_module
from neuron_runtime.engine.constraint_rule import constraint_rule
from neuron_runtime.engine.grammar import GrammarError, Grammars
from neuron_runtime.engine.grammar_mask import GrammarMask
from tests.unit.engine.tiny_model import END, START, UNKNOWN, make_tokenizer
from transports.failures import FailureCode
from transports.schemas.generate import Constraint

CORE = make_tokenizer(words=43)
VOCABULARY = CORE.get_vocab_size()
GRAMMARS = Grammars(CORE.to_str, [END, UNKNOWN])
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def compiled(kind: str, value: str = "") -> GrammarMask:
    return GRAMMARS.compile(f"start: {constraint_rule(Constraint(kind, value))}")


def schema(value: object) -> GrammarMask:
    return compiled("json_schema", json.dumps(value))


def allowed(mask: GrammarMask) -> set[int]:
    row = mask.mask()
    assert row is not None
    assert len(row) == 4 * -(-VOCABULARY // 32)
    bits = int.from_bytes(row, "little")
    tokens = {token for token in range(8 * len(row)) if bits >> token & 1}
    assert max(tokens) < VOCABULARY
    return tokens


def follows(mask: GrammarMask, text: str) -> bool:
    """Feed ``text``; return whether the mask allows it all and then an end."""
    for token in CORE.encode(text).ids:
        may = token in allowed(mask)
        assert mask.accept(token) == may
        if not may:
            return False
    return END in allowed(mask)


def wander(mask: GrammarMask, choose: Callable[[list[int]], int], limit: int = 400) -> str:
    """Draw allowed tokens at random until an end token; return the text."""
    drawn: list[int] = []
    for _ in range(limit):
        tokens = allowed(mask)
        assert (END in tokens) == (UNKNOWN in tokens) == mask.may_end
        assert START not in tokens
        token = choose(sorted(tokens))
        if token in {END, UNKNOWN}:
            break
        assert mask.accept(token)
        drawn.append(token)
    assert mask.may_end
    return str(CORE.decode(drawn))


@pytest.mark.parametrize(
    ("kind", "value", "good", "bad"),
    [
        ("json_object", "", ['{"a": [1, null]}', "{}"], ["[]", "1", '{"a"', "", "{} "]),
        ("json_schema", '{"type": "integer"}', ["12", "-3"], ["1.5", "x", '"1"']),
        ("json_schema", json.dumps(PERSON), ['{"name": "é", "age": 9, "tags": []}'], ["{}"]),
        ("regex", r"\d{2}/[a-c]+", ["12/abc"], ["1/a", "12/", "12/d", "١٢/a"]),
        ("regex", "^yes|no$", ["yes", "no"], ["yesno", ""]),
        ("regex", "a\nb|<\\|end\\|>", ["a\nb", "<|end|>"], ["a", "end"]),
        ("choice", '["red", "green", "green tea"]', ["red", "green", "green tea"], ["gre", "blue"]),
    ],
)
def test_texts_are_allowed_or_not(kind: str, value: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not follows(compiled(kind, value), text)] == []
    assert [text for text in bad if follows(compiled(kind, value), text)] == []


@settings(max_examples=50, deadline=None)
@given(st.integers())
def test_what_follows_a_schema_is_valid(seed: int) -> None:
    value = json.loads(wander(schema(PERSON), random.Random(seed).choice))
    assert list(value) == ["name", "age", "tags"]
    assert len(value["name"]) <= 6
    assert 0 <= value["age"] <= 120
    assert set(value["tags"]) <= {"a", "b"}
    assert len(value["tags"]) <= 2


@settings(max_examples=50, deadline=None)
@given(st.integers())
def test_what_follows_a_pattern_matches_it(seed: int) -> None:
    pattern = r"([a-zà-ÿ]|[🙂-]){1,3}:\d+(\.\d{2})?"
    text = wander(compiled("regex", pattern), random.Random(seed).choice, 4000)
    assert re.fullmatch(pattern, text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_what_follows_choices_is_one_of_them(choices: list[str], randomness: random.Random) -> None:
    assert wander(compiled("choice", json.dumps(choices)), randomness.choice) in choices


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1))
def test_any_text_can_be_chosen(text: str) -> None:
    # Bytes, one token each: the tokenizer makes one token of a special token's text.
    mask = compiled("choice", json.dumps([text, text + "?"]))
    byte_of = {piece: index for index, piece in enumerate(sorted(_byte_letters().values()))}
    for byte in text.encode():
        assert mask.accept(byte_of[_byte_letters()[byte]])
    assert mask.may_end


def _byte_letters() -> dict[int, str]:
    """The letters that stand for bytes in byte-level tokenizers."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {each: chr(each) for each in shown} | {
        byte: chr(256 + at) for at, byte in enumerate(hidden)
    }


def test_thousands_of_choices_are_no_trouble() -> None:
    choices = [f"option {number}" for number in range(5000)]
    assert follows(compiled("choice", json.dumps(choices)), "option 4711")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("json_schema", '{"not": {}}', 'Unimplemented keys: ["not"]'),
        ("json_schema", '{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ("json_schema", '{"not": {}, "x-guidance": {"lenient": true}}', "not"),
        ("json_schema", '{"type": "string", "format": "colour"}', "Unknown format: colour"),
        ("json_schema", '{"type": "thing"}', "Invalid type: thing"),
        ("json_schema", '{"type": "string", "pattern": "(?=a)b"}', "look-around"),
        ("json_schema", '{"$ref": "http://a.b/c"}', "http://a.b/c"),
        ("json_schema", '{"type": "integer", "minimum": 3, "maximum": 2}', "Unsatisfiable"),
        ("json_schema", '{"allOf": [{"$ref": "#"}]}', "no output can follow it"),
        ("json_schema", "[]", "must be an object"),
        ("json_schema", '{"type"', "not valid JSON"),
        ("json_schema", "[" * 5000, "not valid JSON"),
        ("regex", "(a", "unclosed group"),
        ("regex", "a(?!b)", "look-around"),
        ("regex", r"a[^\x00-\x{10FFFF}]", "no output can follow it"),
        ("regex", "(" * 4000 + "a" + ")" * 4000, "..."),
        ("regex", "", "empty"),
        ("choice", "[]", "nothing to choose"),
        ("choice", '[""]', "nothing to choose"),
        ("choice", "[1]", "must be strings"),
        ("choice", '"a"', "must be strings"),
        ("haiku", "", "no constraint of kind 'haiku'"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_says_why(kind: str, value: str, said: str) -> None:
    with pytest.raises(GrammarError, match=re.escape(said)) as caught:
        compiled(kind, value)
    assert "\n" not in str(caught.value)
    assert "start:" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_outputs_of_one_grammar_do_not_mix() -> None:
    one, two = schema(PERSON), schema(PERSON)
    before = allowed(two)
    assert follows(one, '{"name": "x", "age": 1, "tags": ["a"]}')
    assert allowed(two) == before
    assert follows(two, '{"name": "yz", "age": 2, "tags": []}')


def test_a_complete_output_can_only_end() -> None:
    mask = compiled("choice", '["ab"]')
    assert follows(mask, "ab")
    assert allowed(mask) == {END, UNKNOWN}
    assert mask.accept(END)


def test_a_mask_is_the_same_when_asked_again() -> None:
    mask = compiled("regex", "[a-d]{3}")
    assert mask.mask() == mask.mask()
    assert mask.accept(CORE.encode("a").ids[0])
    assert mask.mask() == mask.mask()


def test_a_suspended_mask_allows_everything_and_counts_nothing() -> None:
    mask = compiled("choice", '["ab"]')
    mask.suspended = lambda: True
    assert mask.mask() is None
    assert mask.accept(START)
    mask.suspended = lambda: False
    assert follows(mask, "ab")


def test_only_so_many_compiled_grammars_are_kept() -> None:
    grammars = Grammars(CORE.to_str, [END])
    for number in range(100):
        assert follows(grammars.compile(f'start: "w{number % 50}"'), f"w{number % 50}")
    assert len(grammars._kept) == grammar_module._KEPT


def test_a_grammar_that_becomes_too_costly_never_passes_for_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = llguidance.LLParserLimits(step_lexer_fuel=400, verbose_errors=False)
    monkeypatch.setattr(grammar_module, "_LIMITS", limits)
    mask = Grammars(CORE.to_str, [0, END]).compile("start: /a(.{1,300}x){3}/")
    assert mask.accept(CORE.encode("a").ids[0])
    (token,) = allowed(mask)
    assert token not in {0, END}
    assert not mask.accept(token)
    assert mask.failure is not None
    assert mask.failure.code == FailureCode.INVALID_REQUEST


def test_a_forbidden_token_is_not_the_requests_fault() -> None:
    mask = compiled("choice", '["ab"]')
    mask.mask()
    assert not mask.accept(CORE.encode("b").ids[0])
    assert mask.failure is None


NESTED = {
    "$defs": {
        "n": {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, "required": ["c"]}
    },
    "$ref": "#/$defs/n",
}


@pytest.mark.parametrize(
    ("kind", "value"), [("json_schema", json.dumps(NESTED)), ("regex", "(a{1000}){1000}")]
)
def test_what_never_ends_is_refused_before_its_first_token(kind: str, value: str) -> None:
    with pytest.raises(GrammarError, match="too long, or never ends"):
        compiled(kind, value)


def test_what_never_ends_later_on_is_the_constraints_failure() -> None:
    wrapped = {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/n"}], "$defs": NESTED["$defs"]}
    mask = schema(wrapped).copy()
    brace, quote = CORE.encode('{"').ids
    assert brace in allowed(mask)
    assert mask.accept(brace)
    assert quote in allowed(mask)
    assert not mask.accept(quote)
    assert mask.failure is not None
    assert mask.failure.param == "constraint"


def test_a_model_that_never_ends_cannot_be_constrained() -> None:
    with pytest.raises(GrammarError, match="no token that ends"):
        Grammars(CORE.to_str, []).compile('start: "a"')


def test_a_tokenizer_that_cannot_be_constrained_is_named_as_the_cause() -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    grammars = Grammars(words.to_str, [1])
    grammars.prepare()
    with pytest.raises(GrammarError, match=r"cannot be constrained: .*decoder"):
        grammars.compile('start: "a"')
