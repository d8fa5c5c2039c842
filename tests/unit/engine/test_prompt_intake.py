"""Long prompts are made elsewhere: the engine goes on, and whatever happens, there is one end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from neuron_runtime.engine import prompt_intake
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.prepared import Prepared
from neuron_runtime.engine.prompt_intake import PromptIntake
from neuron_runtime.engine.prompt_maker import PromptMaker
from neuron_runtime.engine.prompt_queue import PromptQueue
from tests.eventually import eventually
from tests.unit.engine.engine_bench import Answer, EngineBench, Peer
from transports.failures import FailureCode
from transports.inproc import InprocNetwork
from transports.link import Completed, IncomingRequest
from transports.schemas.daemon import EngineLoad
from transports.schemas.generate import CountTokens, Generate, TokensCounted
from transports.schemas.link import Drain

SHORT_CHARACTERS = 64
LONG = "a" * (SHORT_CHARACTERS + 1)
MADE = Prepared((1, 2))


class Elsewhere:
    """The other thread, which does what it was given when it is told to."""

    def __init__(self) -> None:
        self.works: list[Callable[[], None]] = []
        self.cannot_start = False

    def __call__(self, work: Callable[[], None]) -> None:
        if self.cannot_start:
            raise RuntimeError("can't start new thread")
        assert not self.works, "two at a time"
        self.works.append(work)

    def go_on(self) -> None:
        (work,) = self.works
        self.works.clear()
        work()


class Desk:
    """An engine with such a thread, and a client."""

    def __init__(self, model_dir: Path, limits: Limits | None = None) -> None:
        self.elsewhere = Elsewhere()
        self.bench = EngineBench(model_dir, limits=limits, start=self.elsewhere)
        self.group = self.bench.start_group()
        self.client: Peer = self.bench.client()[0]

    def ask(self, content: str = LONG, **more: Any) -> Answer:
        return self.bench.ask(self.client, content, **more)

    def go_on(self) -> None:
        self.elsewhere.go_on()
        self.bench.settle()

    @property
    def waiting(self) -> int:
        return self.bench.engine._intake.waiting


@pytest.fixture(autouse=True)
def little_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_intake, "LONG_CHARACTERS", SHORT_CHARACTERS)


@pytest.fixture
def desk(model_dir: Path) -> Desk:
    return Desk(model_dir)


def test_others_are_served_while_a_long_prompt_is_made(desk: Desk) -> None:
    long = desk.ask()
    short = desk.ask("hi")

    assert short.text == desk.bench.right_text(8)
    assert not long.deltas
    desk.go_on()
    assert long.text == desk.bench.right_text(8, LONG)
    assert desk.waiting == 0


def test_long_prompts_are_made_one_at_a_time_and_principals_take_turns(desk: Desk) -> None:
    answers = {
        name: desk.ask(LONG + name, principal=name[0]) for name in ("a1", "a2", "a3", "b1", "c1")
    }
    finished: list[str] = []
    while desk.waiting:
        desk.go_on()
        finished.extend(n for n, each in answers.items() if each.ends and n not in finished)

    assert finished == ["a1", "a2", "b1", "c1", "a3"]
    assert all(each.text == desk.bench.right_text(8, LONG + n) for n, each in answers.items())


def test_tokens_are_counted_the_same_way(desk: Desk) -> None:
    question = Generate("r", "an alias", [{"role": "user", "content": LONG}])
    answer = desk.bench.ask_body(desk.client, CountTokens("c", "m", question))
    assert not answer.ends
    desk.go_on()

    expected = len(desk.bench.tokenizer.encode_chat(question.messages))
    (end,) = answer.ends
    assert isinstance(end, Completed)
    assert end.body == TokensCounted(expected)


@pytest.mark.parametrize("begun", [False, True], ids=["waiting", "in work"])
def test_a_cancelled_prompt_ends_at_once_and_the_next_is_made(desk: Desk, begun: bool) -> None:
    first, second = desk.ask(), desk.ask(LONG + "b")
    cancelled, other = (first, second) if begun else (second, first)
    assert cancelled.call is not None
    cancelled.call.cancel()
    desk.bench.settle()
    assert desk.waiting == 1

    while desk.elsewhere.works:
        desk.go_on()
    assert not cancelled.deltas
    assert other.text == desk.bench.right_text(8, LONG if other is first else LONG + "b")
    assert desk.bench.scheduler.idle


def test_a_client_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    desk.ask()
    assert desk.client.link is not None
    desk.client.link.close("gone", "")
    desk.bench.settle()
    assert desk.waiting == 0
    desk.go_on()
    assert desk.bench.scheduler.idle
    assert not desk.group.steps


def test_a_cancellation_after_the_prompt_was_made_frees_its_seat(desk: Desk) -> None:
    desk.group.hold = True
    answer = desk.ask()
    desk.go_on()
    assert answer.call is not None
    answer.call.cancel()
    desk.bench.settle()
    assert desk.bench.scheduler.idle


class Request:
    """The part of an ``IncomingRequest`` that an intake uses, without an asker who gives up."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        pass


@pytest.mark.parametrize("place", [0, 1], ids=["in work", "waiting"])
def test_a_deadline_is_kept_meanwhile(place: int) -> None:
    network, elsewhere = InprocNetwork(), Elsewhere()
    ends: list[tuple[Any, Any]] = []
    intake = PromptIntake(
        network,
        PromptQueue(max_count=2),
        lambda question: len(str(question.prompt)),
        lambda request, made, _: ends.append((request, made)),
        lambda: None,
        elsewhere,
    )
    requests = [Request(network.now() + 5.0 if n == place else None) for n in range(2)]
    for each in requests:
        intake.take(
            cast("IncomingRequest", each), Generate("r", "m", [], prompt=LONG), lambda _: MADE
        )
    network.advance(6.0)
    network.run()
    ((late, failure),) = ends
    assert (late, failure.code) == (requests[place], FailureCode.DEADLINE_EXCEEDED)

    while elsewhere.works:
        elsewhere.go_on()
        network.run()
    assert ends[1:] == [(requests[1 - place], MADE)]
    assert intake.waiting == 0


def test_a_drain_sends_them_elsewhere_and_is_over_before_the_thread_is(desk: Desk) -> None:
    answers = [desk.ask(), desk.ask()]
    drained: list[bool] = []
    desk.bench.engine.drain(10.0, lambda: drained.append(True))
    desk.bench.settle()

    assert {each.failure.code for each in answers} == {FailureCode.SHUTTING_DOWN}
    assert drained == [True]
    assert desk.ask().failure.code == FailureCode.SHUTTING_DOWN
    desk.go_on()
    desk.bench.engine.resume()
    late = desk.ask()
    desk.go_on()
    assert late.text == desk.bench.right_text(8, LONG)


def test_a_count_that_comes_during_a_drain_is_answered_or_ended_with_it(desk: Desk) -> None:
    drained: list[bool] = []
    desk.group.hold = True
    desk.ask("hi")
    desk.bench.engine.drain(10.0, lambda: drained.append(True))
    question = Generate("r", "m", [{"role": "user", "content": LONG}])
    counts = [desk.bench.ask_body(desk.client, CountTokens("c", "m", question)) for _ in range(2)]
    desk.go_on()
    assert isinstance(counts[0].ends[0], Completed)
    assert not drained
    desk.bench.network.advance(11.0)
    desk.bench.settle()
    assert counts[1].failure.code == FailureCode.SHUTTING_DOWN
    assert drained == [True]


def test_the_loss_of_a_group_is_no_matter_of_theirs(desk: Desk) -> None:
    answer = desk.ask()
    desk.group.die()
    desk.bench.settle()
    desk.go_on()
    assert not answer.ends
    desk.bench.start_group()
    assert answer.text == desk.bench.right_text(8, LONG)


def test_the_engine_is_asked_again_when_a_prompt_is_made(model_dir: Path) -> None:
    desk = Desk(model_dir, Limits(max_running=1, max_queued=1))
    desk.group.hold = True
    answer = desk.ask()
    desk.ask("hi")
    assert desk.ask("one too many").failure.code == FailureCode.OVERLOADED
    desk.bench.scheduler.limits = Limits(max_running=1, max_queued=0)
    desk.go_on()
    assert answer.failure.code == FailureCode.OVERLOADED


def test_whoever_has_most_long_prompts_makes_way(model_dir: Path) -> None:
    desk = Desk(model_dir, Limits(max_running=2, max_queued=1))
    question = Generate("r", "m", [{"role": "user", "content": LONG}], principal="greedy")
    counts = [desk.bench.ask_body(desk.client, CountTokens("c", "m", question)) for _ in range(3)]
    modest = desk.ask(principal="modest")

    assert counts[2].failure.code == FailureCode.OVERLOADED
    assert "others who ask for less go first" in counts[2].failure.message
    while desk.elsewhere.works:
        desk.go_on()
    assert modest.text == desk.bench.right_text(8, LONG)
    assert [len(each.ends) for each in counts] == [1, 1, 1]


def test_those_that_wait_are_bounded_and_reported(model_dir: Path) -> None:
    desk = Desk(model_dir, Limits(max_running=1, max_queued=1))
    question = CountTokens("c", "m", Generate("r", "m", [{"role": "user", "content": LONG}]))
    counts = [desk.bench.ask_body(desk.client, question) for _ in range(3)]
    refused = counts[2].failure
    assert refused.code == FailureCode.OVERLOADED
    assert refused.retry_after_s is not None
    desk.bench.network.advance(2.0)
    assert desk.bench.daemon.told(EngineLoad)[-1].waiting == 2
    while desk.elsewhere.works:
        desk.go_on()
    desk.bench.network.advance(2.0)
    desk.bench.settle()
    assert desk.bench.daemon.told(EngineLoad)[-1].waiting == 0


def test_prompts_of_others_take_no_places_of_one_that_has_a_name(model_dir: Path) -> None:
    desk = Desk(model_dir, Limits(max_running=1, max_queued=1))
    others = [desk.ask() for _ in range(2)]
    assert desk.ask("hi").failure.code == FailureCode.OVERLOADED
    named = desk.ask("hi", principal="bob")
    assert named.text == desk.bench.right_text(8)
    desk.go_on()
    desk.go_on()
    assert all(each.text == desk.bench.right_text(8, LONG) for each in others)


def test_prompts_that_are_only_counted_take_no_places(model_dir: Path) -> None:
    desk = Desk(model_dir, Limits(max_running=1, max_queued=1))
    question = CountTokens("c", "m", Generate("r", "m", [{"role": "user", "content": LONG}]))
    counts = [desk.bench.ask_body(desk.client, question) for _ in range(2)]
    assert desk.ask("hi").text == desk.bench.right_text(8)
    assert not any(each.ends for each in counts)


def test_a_prompt_that_cannot_be_made_fails_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(PromptMaker, "make", fail)
        broken = desk.ask()
        other = desk.ask()
        desk.go_on()
    assert broken.failure.code == FailureCode.INTERNAL
    desk.go_on()
    assert other.text == desk.bench.right_text(8, LONG)


def test_a_mistake_after_a_prompt_was_made_fails_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a mistake")

    broken, other = desk.ask(), desk.ask()
    with monkeypatch.context() as patched:
        patched.setattr(desk.bench.engine._admission, "admit", fail)
        desk.go_on()
    assert broken.failure.code == FailureCode.INTERNAL
    desk.go_on()
    assert other.text == desk.bench.right_text(8, LONG)


def test_a_process_without_threads_refuses_long_prompts(desk: Desk) -> None:
    desk.elsewhere.cannot_start = True
    assert desk.ask().failure.code == FailureCode.OVERLOADED
    assert desk.ask("hi").text == desk.bench.right_text(8)
    desk.elsewhere.cannot_start = False
    late = desk.ask()
    desk.go_on()
    assert late.text == desk.bench.right_text(8, LONG)


def test_a_template_refuses_from_elsewhere_too(desk: Desk) -> None:
    answer = desk.ask(tools=({"type": "function", "function": {"name": "f"}},))
    desk.go_on()
    assert answer.failure.param == "tools"


def test_a_real_thread_does_not_hold_up_the_engine(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, began, names = threading.Event(), threading.Event(), set[str]()
    make = PromptMaker.make

    def blocking(maker: PromptMaker, question: Generate) -> tuple[int, ...]:
        names.add(threading.current_thread().name)
        if LONG in str(question.messages):
            began.set()
            assert on.wait(30.0)
        return make(maker, question)

    monkeypatch.setattr(PromptMaker, "make", blocking)
    bench = EngineBench(model_dir)
    bench.start_group()
    client, _ = bench.client()
    long = bench.ask(client, LONG)
    assert began.wait(30.0)
    assert bench.ask(client).text == bench.right_text(8)
    assert not long.ends
    on.set()

    def settled() -> bool:
        bench.settle()
        return bool(long.ends)

    eventually(settled, within_s=30.0)
    assert long.text == bench.right_text(8, LONG)
    assert names == {"prompt", threading.current_thread().name}


def test_a_drain_order_is_answered_while_a_prompt_is_made(desk: Desk) -> None:
    desk.ask()
    answer = Answer()
    assert desk.bench.daemon.link is not None
    desk.bench.daemon.link.request(Drain(5.0), answer, deadline_s=10.0)
    desk.bench.settle()
    assert isinstance(answer.ends[0], Completed)
