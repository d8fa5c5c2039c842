"""Embeddings on a whole engine, without processes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from neuron_runtime.backends.fake import VECTOR_LENGTH
from neuron_runtime.engine.embedding_queue import EmbeddingLimits
from tests.unit.engine.embedding_bench import (
    CONTEXT,
    MODEL,
    VOCABULARY,
    EmbeddingBench,
    make_embedding_dir,
    right_rows,
    text_tokens,
)
from tests.unit.engine.engine_bench import EngineBench
from tests.unit.engine.tiny_model import make_model_dir
from transports.failures import FailureCode
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import CountTokens, Embed, Generate
from transports.schemas.link import Drain


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return make_embedding_dir(tmp_path)


@pytest.fixture
def bench(model_dir: Path) -> EmbeddingBench:
    return EmbeddingBench(model_dir)


def test_texts_and_token_ids_get_their_vectors_in_order(bench: EmbeddingBench) -> None:
    bench.start_group()
    text = "longer than what the tokenizer's file cuts"[:20]
    answer = bench.ask(bench.client(), text, (7, 8, 9), "b")

    assert answer.rows == right_rows(text_tokens(text), (7, 8, 9), text_tokens("b"))
    assert answer.done.dimensions == VECTOR_LENGTH
    assert answer.done.prompt_tokens == len(text_tokens(text)) + 3 + 3
    assert bench.load == EngineLoad(0, 0, 2, CONTEXT, 0, 0)


def test_the_load_is_reported_with_the_tokens_that_were_embedded(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    bench.ask(link, (1, 2, 3))
    bench.ask(link, (4, 5))
    bench.network.advance(1.0)
    assert bench.load == EngineLoad(1, 1, 2, CONTEXT)
    bench.ranks.hold = False
    bench.step()
    bench.network.advance(1.0)
    assert bench.load == EngineLoad(0, 0, 2, CONTEXT, prompt_tokens_total=5)


def test_requests_share_steps_and_get_their_own_vectors(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    one, two = bench.client(), bench.client()
    first = bench.ask(one, (1,))
    second, third = bench.ask(one, (2,), (3,)), bench.ask(two, (4, 5))
    bench.ranks.hold = False
    bench.step()

    assert [step.sequences for step in bench.ranks.steps] == [((1,),), ((2,), (4, 5), (3,))]
    assert first.rows == right_rows((1,))
    assert second.rows == right_rows((2,), (3,))
    assert third.rows == right_rows((4, 5))


def test_a_large_request_does_not_keep_a_small_one_waiting(model_dir: Path) -> None:
    bench = EmbeddingBench(model_dir, EmbeddingLimits(step_tokens=8))
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    large = bench.ask(link, *[(n, n) for n in range(40)])
    small = bench.ask(link, (99, 99))
    bench.step()
    bench.step()

    assert small.rows == right_rows((99, 99))
    assert not large.ends
    bench.ranks.hold = False
    bench.step()
    assert large.rows == right_rows(*[(n, n) for n in range(40)])
    assert all(sum(map(len, step.sequences)) <= 8 for step in bench.ranks.steps)


def test_more_tokens_get_more_time(bench: EmbeddingBench) -> None:
    bench.start_group()
    link = bench.client()
    bench.ask(link, (1,))
    bench.ask(link, (1,) * 21)
    assert bench.ranks.deadlines[1] - bench.ranks.deadlines[0] == pytest.approx(1.0)


def test_fewer_dimensions_are_the_first_ones_at_length_one(bench: EmbeddingBench) -> None:
    bench.start_group()
    link = bench.client()
    whole = struct.unpack("<8f", bench.ask(link, (5, 6)).rows)
    answer = bench.ask(link, (5, 6), dimensions=3)

    cut = struct.unpack("<3f", answer.rows)
    assert answer.done.dimensions == 3
    assert math.hypot(*cut) == pytest.approx(1.0)
    assert [x * math.hypot(*whole[:3]) for x in cut] == pytest.approx(whole[:3], abs=1e-6)
    assert bench.ask(link, (5, 6), dimensions=8).rows == right_rows((5, 6))


@pytest.mark.parametrize(
    ("question", "code", "param", "said"),
    [
        (Embed("r", "x", ("a",)), FailureCode.MODEL_NOT_FOUND, "model", "serves 'm', not 'x'"),
        (Embed("r", MODEL, ()), FailureCode.INVALID_REQUEST, "input", "1 to 2048"),
        (Embed("r", MODEL, ("a",) * 2049), FailureCode.INVALID_REQUEST, "input", "1 to 2048"),
        (Embed("r", MODEL, ("a", "")), FailureCode.INVALID_REQUEST, "input", "input 1 is empty"),
        (Embed("r", MODEL, ("a", ())), FailureCode.INVALID_REQUEST, "input", "input 1 is empty"),
        (Embed("r", MODEL, ((-1,),)), FailureCode.INVALID_REQUEST, "input", "outside of 0 to 299"),
        (
            Embed("r", MODEL, ((VOCABULARY,),)),
            FailureCode.INVALID_REQUEST,
            "input",
            "outside of 0 to 299",
        ),
        (Embed("r", MODEL, ("a",), 0), FailureCode.INVALID_REQUEST, "dimensions", "at least 1"),
        (Embed("r", MODEL, ("a",), 9), FailureCode.INVALID_REQUEST, "dimensions", "have only 8"),
        (
            Embed("r", MODEL, ("a", "b" * 31)),
            FailureCode.CONTEXT_LENGTH_EXCEEDED,
            "input",
            "maximum context length is 32 tokens, but input 1 has 33 tokens",
        ),
        (
            Embed("r", MODEL, ((1,) * 33,)),
            FailureCode.CONTEXT_LENGTH_EXCEEDED,
            "input",
            "maximum context length is 32 tokens, but input 0 has 33 tokens",
        ),
        (
            Generate("r", MODEL, [{"role": "user", "content": "hi"}]),
            FailureCode.INVALID_REQUEST,
            "model",
            "makes embeddings and generates no text",
        ),
        (
            CountTokens("r", MODEL, Generate("r", MODEL, [{"role": "user", "content": "hi"}])),
            FailureCode.INVALID_REQUEST,
            "model",
            "makes embeddings and generates no text",
        ),
        (Drain(1.0), FailureCode.INVALID_REQUEST, None, "does not answer Drain"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(
    bench: EmbeddingBench, question: Embed, code: str, param: str | None, said: str
) -> None:
    bench.start_group()
    failure = bench.ask_body(bench.client(), question).failure
    assert (failure.code, failure.param) == (code, param)
    assert said in failure.message
    assert bench.ranks.steps == []


def test_more_tokens_than_one_request_may_have_are_refused(tmp_path: Path) -> None:
    bench = EmbeddingBench(make_embedding_dir(tmp_path, max_position_embeddings=200_000))
    bench.start_group()
    link = bench.client()
    several = bench.ask(link, *[(1,) * 100_001] * 3).failure
    assert (several.code, several.param) == (FailureCode.INVALID_REQUEST, "input")
    assert "more than 300000 tokens in one request" in several.message


def test_a_text_that_cannot_fit_is_refused_without_tokens(bench: EmbeddingBench) -> None:
    failure = bench.ask(bench.client(), "a", "x" * (64 * CONTEXT + 1)).failure
    assert (failure.code, failure.param) == (FailureCode.CONTEXT_LENGTH_EXCEEDED, "input")
    assert "maximum context length is 32 tokens, but input 1 has 2049 chara" in failure.message


def test_the_ranks_may_know_a_shorter_context_than_the_files(bench: EmbeddingBench) -> None:
    bench.start_group(context_length=10)
    link = bench.client()
    assert "maximum context length is 10 tokens" in bench.ask(link, (1,) * 11).failure.message
    assert bench.ask(link, (1,) * 10).rows == right_rows((1,) * 10)


def test_dimensions_that_only_the_ranks_know_are_refused_when_they_are(tmp_path: Path) -> None:
    bench = EmbeddingBench(make_embedding_dir(tmp_path, hidden_size=None))
    bench.start_group()
    failure = bench.ask(bench.client(), (1,), dimensions=9).failure
    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "dimensions")
    assert "have only 8" in failure.message


def test_too_many_requests_are_refused_with_a_time_to_come_back(bench: EmbeddingBench) -> None:
    link = bench.client()
    waiting = [bench.ask(link, (n,)) for n in range(4)]
    refused = bench.ask(link, (9,)).failure
    assert refused.code == FailureCode.OVERLOADED
    assert refused.retry_after_s is not None
    bench.start_group()
    assert [answer.rows for answer in waiting] == [right_rows((n,)) for n in range(4)]


def test_whoever_has_most_makes_way_for_others(bench: EmbeddingBench) -> None:
    link = bench.client()
    greedy = [bench.ask_body(link, Embed("r", MODEL, ((n,),), None, "greedy")) for n in range(4)]
    modest = bench.ask_body(link, Embed("r", MODEL, ((9,),), None, "modest"))
    last = greedy.pop()

    assert last.failure.code == FailureCode.OVERLOADED
    assert "others who ask for less go first" in last.failure.message
    assert bench.ask_body(link, Embed("r", MODEL, ((5,),), None, "greedy")).failure.retry_after_s
    bench.start_group()
    assert modest.rows == right_rows((9,))
    assert [answer.rows for answer in greedy] == [right_rows((n,)) for n in range(3)]


def test_too_many_tokens_that_wait_are_refused(model_dir: Path) -> None:
    bench = EmbeddingBench(model_dir, EmbeddingLimits(alive_tokens=3))
    link = bench.client()
    bench.ask(link, (1, 2, 3))
    assert bench.ask(link, (4,)).failure.code == FailureCode.OVERLOADED


# -- cancellation and deadlines -----------------------------------------------------------------


def test_a_cancelled_request_that_waits_is_never_embedded(bench: EmbeddingBench) -> None:
    answer = bench.ask(bench.client(), (1,))
    assert answer.call is not None
    answer.call.cancel("client_gone")
    bench.settle()
    bench.start_group()

    assert answer.failure.code == FailureCode.CANCELLED
    assert bench.ranks.steps == []


def test_a_cancelled_request_in_a_step_disturbs_nobody(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    bench.ask(link, (0,))
    gone, other = bench.ask(link, (1,), (2,)), bench.ask(link, (3,))
    bench.step()
    assert gone.call is not None
    gone.call.cancel("client_gone")
    bench.settle()
    assert gone.failure.code == FailureCode.CANCELLED
    bench.step()

    assert other.rows == right_rows((3,))
    assert bench.queue.idle
    assert len(gone.ends) == 1


def test_all_requests_of_a_front_end_that_is_gone_are_dropped(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    bench.ask(link, (1,))
    bench.ask(link, (2,))
    link.close("stopped")
    bench.settle()
    bench.step()
    assert bench.queue.idle
    assert len(bench.ranks.steps) == 1


@pytest.mark.parametrize("running", [True, False])
def test_a_deadline_ends_a_request_in_the_queue_and_in_a_step(
    bench: EmbeddingBench, running: bool
) -> None:
    bench.ranks.hold = True
    if running:
        bench.start_group()
    link = bench.client()
    bench.ask(link, (1,), deadline_s=5.0)
    patient = bench.ask(link, (2,))
    bench.network.advance(6.0)
    bench.settle()
    assert len(bench.queue._jobs) == 1

    bench.ranks.hold = False
    bench.start_group() if not running else bench.step()
    assert patient.rows == right_rows((2,))


# -- failures -----------------------------------------------------------------------------------


def test_a_drained_engine_finishes_what_it_has_and_takes_nothing_new(
    bench: EmbeddingBench,
) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    answer = bench.ask(link, (1,))
    drained: list[bool] = []
    bench.engine.drain(10.0, lambda: drained.append(True))
    assert bench.ask(link, (2,)).failure.code == FailureCode.SHUTTING_DOWN
    assert not drained
    bench.step()

    assert answer.rows == right_rows((1,))
    assert drained == [True]


def test_what_is_not_finished_in_the_grace_is_ended(bench: EmbeddingBench) -> None:
    answer = bench.ask(bench.client(), (1,))
    drained: list[bool] = []
    bench.engine.drain(10.0, lambda: drained.append(True))
    bench.network.advance(11.0)
    bench.settle()

    assert answer.failure.code == FailureCode.SHUTTING_DOWN
    assert drained == [True]


def test_an_engine_that_generates_says_that_it_makes_no_embeddings(tmp_path: Path) -> None:
    bench = EngineBench(make_model_dir(tmp_path / "chat"))
    bench.start_group()
    client, _ = bench.client()
    failure = bench.ask_body(client, Embed("r", MODEL, ("a",))).failure

    assert (failure.code, failure.param) == (FailureCode.INVALID_REQUEST, "model")
    assert "generates text and makes no embeddings" in failure.message
