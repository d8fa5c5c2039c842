"""Large grammars are compiled elsewhere: the engine goes on meanwhile, whatever comes of them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuron_runtime.engine.grammar import Grammars
from neuron_runtime.engine.grammar_mask import GrammarMask
from neuron_runtime.engine.tokenizer import LONG_CHARACTERS, Tokenizer
from tests.unit.engine.engine_bench import GREEDY, EngineBench
from tests.unit.engine.test_prompt_intake import Desk
from tests.unit.engine.tiny_model import END
from transports.failures import FailureCode
from transports.schemas.generate import Constraint

CHOICES = [f"choice {number}" for number in range(LONG_CHARACTERS // 8)]
LARGE = Constraint("choice", json.dumps(CHOICES))
BAD = Constraint("json_schema", json.dumps({"type": 5, "title": "a" * LONG_CHARACTERS}))


@pytest.fixture
def desk(model_dir: Path) -> Desk:
    return Desk(model_dir)


def test_others_are_served_while_a_large_grammar_is_compiled(desk: Desk) -> None:
    constrained = desk.ask("hi", constraint=LARGE, n=2)
    small = Constraint("choice", json.dumps(["one"]))

    others = [desk.ask("hi"), desk.ask("hi", constraint=small)]

    assert [each.done.finish_reason for each in others] == ["length", "stop"]
    assert not constrained.deltas
    assert not constrained.ends
    desk.go_on()
    assert constrained.done.completion_tokens == 2 * (GREEDY.max_tokens or 0)
    for choice in range(2):
        text = "".join(each.text for each in constrained.deltas if each.choice == choice)
        assert any(each.startswith(text) for each in CHOICES)


def test_one_that_cannot_be_compiled_is_refused_by_name(desk: Desk) -> None:
    answer = desk.ask("hi", constraint=BAD)
    desk.go_on()

    assert answer.failure.code == FailureCode.INVALID_REQUEST
    assert answer.failure.param == "constraint"
    assert desk.waiting == 0


def test_a_large_grammar_is_compiled_on_a_thread_of_its_own(model_dir: Path) -> None:
    names: list[str] = []
    compiled = Grammars.compile

    def compile_(grammars: Grammars, grammar: str) -> GrammarMask:
        names.append(threading.current_thread().name)
        return compiled(grammars, grammar)

    bench = EngineBench(model_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Grammars, "compile", compile_)
        bench.start_group()
        client, _ = bench.client()
        bench.ask(client, "hi", constraint=Constraint("choice", json.dumps(["one"])))
        answer = bench.ask(client, "hi", constraint=LARGE)
        while not answer.ends:
            bench.settle()

    assert names == [threading.main_thread().name, "prompt"]


def test_several_threads_compile_and_copy_at_once(model_dir: Path) -> None:
    grammars = Grammars(Tokenizer.load(model_dir).definition, {END})

    def rows(number: int) -> tuple[bytes | None, bytes | None]:
        mask = grammars.compile(f'start: "choice {number % 5}"')
        return mask.mask(), mask.copy().mask()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(rows, range(200)))

    assert all(one == other for one, other in found)
    assert len(set(found)) == 1, "the first token is the same for all"
