"""Much text is taken a slice at a time; whatever happens meanwhile, there is one outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from neuron_runtime.engine import embedding_intake
from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_intake import EmbeddingIntake
from neuron_runtime.engine.embedding_job import EmbeddingJob
from tests.unit.engine.embedding_bench import (
    MODEL,
    EmbeddingBench,
    make_embedding_dir,
    right_rows,
    text_tokens,
)
from transports.failures import FailureCode
from transports.inproc import InprocNetwork
from transports.link import IncomingRequest
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

SLICE = 8


class Request:
    """The part of an ``IncomingRequest`` that an intake uses."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.cancel: Callable[[str], None] | None = None

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        self.cancel = callback


class Desk:
    """An intake and what has come of its questions; another thread does as it is told."""

    def __init__(self, model_dir: Path) -> None:
        self.network = InprocNetwork()
        self.works: list[Callable[[], None]] = []
        self.held = self.cannot_start = False
        self.ends: list[tuple[str, EmbeddingJob | Failure]] = []
        admission = EmbeddingAdmission.load(MODEL, model_dir)
        self.intake = EmbeddingIntake(self.network, admission, self._on_ready, self._start)

    def take(self, name: str, *inputs: str, deadline: float | None = None) -> Request:
        request = Request(deadline)
        self.intake.take(cast("IncomingRequest", request), Embed(name, MODEL, inputs))
        return request

    def failure(self, name: str) -> Failure:
        (end,) = (end for each, end in self.ends if each == name)
        assert isinstance(end, Failure)
        return end

    def go_on(self) -> None:
        (work,) = self.works
        self.works.clear()
        work()
        self.network.run()

    def _start(self, work: Callable[[], None]) -> None:
        if self.cannot_start:
            raise RuntimeError("can't start new thread")
        assert not self.works, "two at a time"
        if self.held:
            self.works.append(work)
        else:
            work()

    def _on_ready(self, _: Any, question: Embed, end: EmbeddingJob | Failure) -> None:
        self.ends.append((question.request_id, end))


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_intake, "SLICE_CHARACTERS", SLICE)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return make_embedding_dir(tmp_path)


@pytest.fixture
def desk(model_dir: Path) -> Desk:
    return Desk(model_dir)


def test_much_text_becomes_the_same_tokens_as_little(desk: Desk) -> None:
    texts = ("abcd", "efgh", "i", "a text longer than a slice", "jk", "lmnop")
    desk.take("long", *texts)
    assert (desk.ends, desk.intake.waiting) == ([], 1)
    desk.network.run()

    ((_, job),) = desk.ends
    assert isinstance(job, EmbeddingJob)
    assert job.inputs == tuple(text_tokens(text) for text in texts)
    assert desk.intake.waiting == 0


def test_a_small_question_is_ready_before_a_large_one_and_large_ones_take_turns(
    desk: Desk,
) -> None:
    desk.take("longest", *["abcdefgh"] * 9)
    desk.take("long", *["abcdefgh"] * 3)
    desk.network.step()
    desk.take("small", "ab")
    assert [name for name, _ in desk.ends] == ["small"]
    desk.network.run()
    assert [name for name, _ in desk.ends] == ["small", "long", "longest"]


LONG = "a text longer than a slice"


def test_small_questions_are_ready_while_a_long_input_is_tokenized_elsewhere(desk: Desk) -> None:
    desk.held = True
    desk.take("longest", LONG)
    desk.take("long", *["abcdefgh"] * 3)
    desk.network.run()
    desk.take("small", "ab")
    assert [name for name, _ in desk.ends] == ["small"]
    desk.go_on()
    assert [name for name, _ in desk.ends] == ["small", "longest", "long"]
    _, job = desk.ends[1]
    assert isinstance(job, EmbeddingJob)
    assert job.inputs == (text_tokens(LONG),)


def test_a_question_that_ends_while_it_is_elsewhere_ends_once(desk: Desk) -> None:
    desk.held = True
    request = desk.take("long", LONG, LONG)
    desk.take("next", LONG)
    desk.network.run()
    assert request.cancel is not None
    request.cancel("client_gone")
    assert desk.failure("long").code == FailureCode.CANCELLED
    while desk.works:
        desk.go_on()
    assert [name for name, _ in desk.ends] == ["long", "next"]
    assert desk.intake.waiting == 0


def test_what_fails_elsewhere_fails_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingAdmission, "tokens", fail)
        desk.take("broken", LONG)
        desk.network.run()
    assert desk.failure("broken").code == FailureCode.INTERNAL
    desk.cannot_start = True
    desk.take("no thread", LONG)
    desk.network.run()
    assert desk.failure("no thread").code == FailureCode.OVERLOADED
    desk.cannot_start = False
    desk.take("good", LONG)
    desk.network.run()
    assert isinstance(desk.ends[-1][1], EmbeddingJob)


def test_a_cancelled_question_is_given_up(desk: Desk) -> None:
    request = desk.take("long", *["abcdefgh"] * 9)
    desk.network.step()
    assert request.cancel is not None
    request.cancel("client_gone")
    desk.network.run()
    assert desk.failure("long").code == FailureCode.CANCELLED
    assert desk.intake.waiting == 0


def test_a_question_whose_time_is_over_is_given_up(desk: Desk) -> None:
    desk.take("long", *["abcdefgh"] * 9, deadline=desk.network.now() + 5.0)
    desk.network.step()
    desk.network.clock.advance(6.0)
    desk.network.run()
    assert desk.failure("long").code == FailureCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("bad", "said"), [("x" * 31, "input 5 has 33 tokens")])
def test_a_bad_input_ends_its_question_when_it_is_reached(desk: Desk, bad: str, said: str) -> None:
    desk.take("long", *["abcdefgh"] * 5, bad, *["abcdefgh"] * 5)
    desk.network.run()
    assert said in desk.failure("long").message


def test_more_tokens_than_allowed_are_noticed_on_the_way(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_runtime.engine.embedding_admission.MAX_TOKENS", 25)
    desk.take("long", *["abcdefgh"] * 5)
    for _ in range(3):
        desk.network.step()
    assert "more than 25 tokens" in desk.failure("long").message


def test_all_that_is_not_ready_can_be_refused(desk: Desk) -> None:
    for name in "ab":
        desk.take(name, *["abcdefgh"] * 9)
    desk.intake.end_all(Failure(FailureCode.SHUTTING_DOWN, "over"))
    desk.network.run()
    assert {desk.failure(name).message for name in "ab"} == {"over"}


def test_what_an_engine_has_taken_in_counts_and_is_finished_by_a_drain(model_dir: Path) -> None:
    bench = EmbeddingBench(model_dir)
    bench.start_group()
    link = bench.client()
    drained: list[bool] = []
    answers = [bench.ask(link, "a", *["abcdefgh"] * 3) for _ in range(2)]
    assert all(answer.rows for answer in answers)

    ends: list[Any] = []
    link.request(Embed("r", MODEL, ("abcdefgh",) * 30), ends.append, deadline_s=100.0)
    while not bench.engine._intake.waiting:
        bench.network.step()
    bench.engine.drain(10.0, lambda: drained.append(True))
    assert not drained
    assert bench.engine._read_load().waiting == 1
    bench.settle()

    assert [b"".join(end.raw) for end in ends] == [right_rows(*[text_tokens("abcdefgh")] * 30)]
    assert drained == [True]


def test_too_many_questions_on_their_way_are_refused(model_dir: Path) -> None:
    bench = EmbeddingBench(model_dir)
    link = bench.client()
    ends: list[Any] = []
    for _ in range(5):
        link.request(Embed("r", MODEL, ("abcdefgh",) * 30), ends.append, deadline_s=100.0)
    while not ends:
        bench.network.step()
    (refused,) = ends
    assert refused.failure.code == FailureCode.OVERLOADED
    bench.start_group()
    assert len(ends) == 5


def test_what_has_no_tokens_yet_makes_way_too(model_dir: Path) -> None:
    bench = EmbeddingBench(model_dir)
    link = bench.client()
    ends: dict[str, list[Any]] = {}
    for name in ("one", "two", "three", "four", "other"):
        principal = "other" if name == "other" else "greedy"
        body = Embed(name, MODEL, ("abcdefgh",) * 30, None, principal)
        link.request(body, ends.setdefault(name, []).append, deadline_s=100.0)
    while not any(ends.values()):
        bench.network.step()
    assert ends["four"][0].failure.code == FailureCode.OVERLOADED
    bench.start_group()
    bench.settle()
    assert all(len(each) == 1 for each in ends.values())
    assert b"".join(ends["other"][0].raw) == right_rows(*[text_tokens("abcdefgh")] * 30)
