"""A distribution beside cortex may bring a format of calls; a broken one is refused by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.parsers.formats import CALL_FORMATS
from neuron_runtime.engine.parsers.plugged_formats import CallFormatError, call_formats
from neuron_runtime.engine.request_output import call_grammar_of
from neuron_runtime.engine.tokenizer import Tokenizer, TokenizerError
from tests.unit.engine.engine_bench import GREEDY
from tests.unit.engine.parsing import parse
from tests.unit.engine.tiny_model import make_model_dir
from transports.schemas.generate import Generate

# The example of docs/call-formats.md.
DOCUMENT = Path(__file__).parents[3] / "docs" / "call-formats.md"
TEMPLATE = "{{ messages }}{% for tool in tools %}{{ tool }}{% endfor %} Write @call NAME {...} @end"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one module, ``own_calls``, and entry points into it."""
    site = tmp_path / "site"

    def install_(source: str, **points: str) -> None:
        info = site / "own_calls-1.dist-info"
        info.mkdir(parents=True)
        (site / "own_calls.py").write_text(source)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-calls\nVersion: 1\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[cortex.call_formats]", *lines]))
        monkeypatch.syspath_prepend(str(site))

    monkeypatch.delitem(sys.modules, "own_calls", raising=False)
    return install_


def documented() -> str:
    return DOCUMENT.read_text().split("```python\n")[1].split("```")[0]


def test_without_any_there_are_ours() -> None:
    assert call_formats() == CALL_FORMATS


def test_the_documented_format_is_told_by_its_signs_and_reads_calls(
    install: Install, tmp_path: Path
) -> None:
    install(documented(), at_call="own_calls:AT_CALL")
    tokenizer = Tokenizer.load(make_model_dir(tmp_path / "m", template=TEMPLATE))
    assert tokenizer.output_format.calls.name == "at_call"
    parser = tokenizer.output_format.parser("", (TOOL,))
    assert parser is not None
    text = 'Hm. @call weather {"city": "@end"}@end'
    parsed = parse(parser, list(text))
    assert parsed.content == "Hm. "
    assert [(name, json.loads(given)) for name, given in parsed.calls] == [
        ("weather", {"city": "@end"})
    ]

    other = Tokenizer.load(make_model_dir(tmp_path / "n"))
    assert other.output_format.calls.name == "llama3_json"


def demanded(tokenizer: Tokenizer) -> str | None:
    question = Generate("r", "m", [], GREEDY, tools=(TOOL,), tool_choice="required")
    return call_grammar_of(tokenizer, question)


def test_its_calls_can_be_demanded_if_it_says_how_they_are_written(
    install: Install, tmp_path: Path
) -> None:
    install(documented(), at_call="own_calls:AT_CALL")
    grammar = demanded(Tokenizer.load(make_model_dir(tmp_path / "m", template=TEMPLATE)))
    assert grammar is not None
    assert '"@call weather "' in grammar
    assert '"@end"' in grammar


def test_one_that_does_not_say_so_is_refused_for_demanded_calls(
    install: Install, tmp_path: Path
) -> None:
    source = documented() + "\nimport dataclasses\n"
    source += "AT_CALL = dataclasses.replace(AT_CALL, around=None)\n"
    install(source, at_call="own_calls:AT_CALL")
    tokenizer = Tokenizer.load(make_model_dir(tmp_path / "m", template=TEMPLATE))
    with pytest.raises(ValueError, match=r"calls cannot be demanded .* 'at_call'"):
        demanded(tokenizer)


FORMAT = "from neuron_runtime.engine.parsers.formats import CallFormat\n"


@pytest.mark.parametrize(
    ("source", "points", "why"),
    [
        ("", {"a": "own_calls:NONE"}, "AttributeError"),
        ("1 / 0", {"a": "own_calls:A"}, "ZeroDivisionError"),
        ("A = 5", {"a": "own_calls:A"}, "it is a int, not a CallFormat"),
        (FORMAT + "A = CallFormat('a', (), (), None)", {"a": "own_calls:A"}, "without signs"),
        (FORMAT + "A = CallFormat('a', ('',), (), None)", {"a": "own_calls:A"}, "without signs"),
        (
            FORMAT + "A = CallFormat('hermes', ('x',), (), None)",
            {"a": "own_calls:A"},
            "there is a format 'hermes' already",
        ),
        (
            FORMAT + "A = CallFormat('a', ('x',), (), None)",
            {"a": "own_calls:A", "b": "own_calls:A"},
            "there is a format 'a' already",
        ),
    ],
)
def test_a_broken_one_is_named_and_no_model_is_served_with_it(
    install: Install, tmp_path: Path, source: str, points: dict[str, str], why: str
) -> None:
    install(source, **points)
    with pytest.raises(CallFormatError, match=f"^entry point .* = own_calls:.*: {why}"):
        call_formats()
    with pytest.raises(TokenizerError, match="own_calls"):
        Tokenizer.load(make_model_dir(tmp_path / "m"))
