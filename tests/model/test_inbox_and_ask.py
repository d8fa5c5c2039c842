"""Inbox, ask and death against a model: no question stays open, control never waits.

The test is the actor's thread: it decides when a message is taken, so every interleaving of puts,
turns, stops, fences and deadlines is one that it chose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.asking import Future
from cortex_actors.kit.cell import Cell
from cortex_actors.kit.errors import (
    ActorCrashed,
    ActorDead,
    ActorError,
    AskTimeout,
    ExpectedError,
    MailboxFull,
)
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.inbox import Inbox
from cortex_actors.kit.reasons import SHUTDOWN
from tests.model.naive_inboxes import NAIVE_CELLS, NAIVE_INBOXES
from tests.model.trials import holds, is_found_out

LIMIT = 3
KINDS = ["answer", "answer", "answer", "refuse", "defer", "defer", "crash", "leave"]


@dataclass(frozen=True)
class Question:
    number: int
    kind: str


class Probe(SupervisedActor):
    mailbox_limit = LIMIT
    inbox_class: ClassVar[type[Inbox]] = Inbox

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.deferred: dict[int, Future[int]] = {}

    def _create_actor_inbox(self) -> Inbox:  # type: ignore[override]
        return self.inbox_class()

    @handles(Question)
    def question(self, question: Question) -> Any:
        self.seen.append(question.number)
        if question.kind == "refuse":
            raise ExpectedError("no")
        if question.kind == "crash":
            raise SystemExit(1)
        if question.kind == "leave":
            self.leave()
        if question.kind == "defer":
            return self.deferred.setdefault(question.number, Future())
        return question.number


Patch = Callable[[Cell], None]


class AskMachine(RuleBasedStateMachine):
    inbox_class: ClassVar[type[Inbox]] = Inbox
    patch: ClassVar[Patch | None] = None

    @initialize()
    def start(self) -> None:
        probe_class = type("Probe", (Probe,), {"inbox_class": self.inbox_class})
        self.probe: Probe = probe_class()
        self.loop = self.probe._embody("probe")
        patch = type(self).patch
        if patch is not None:
            patch(self.probe._cell)
        self.ref = self.probe.ref
        assert self.loop.open()
        self.control: list[Question | None] = []  # None is a stop
        self.user: list[Question] = []
        self.seen: list[int] = []
        self.alive = True
        self.asked: dict[int, Future[Any]] = {}
        self.expected: dict[int, object] = {}  # number to answer, error type, or None while open
        self.count = 0

    @rule(kind=st.sampled_from(KINDS))
    def tell(self, kind: str) -> None:
        question = self._question(kind)
        refusal = self._refusal()
        refused_with: type[Exception] | None = None
        try:
            self.ref.tell(question)
        except ActorError as error:
            refused_with = type(error)
        assert refused_with is refusal
        if refusal is None:
            self.user.append(question)

    @rule(kind=st.sampled_from(KINDS))
    def ask(self, kind: str) -> None:
        question = self._question(kind)
        self.expected[question.number] = self._refusal()
        if self.expected[question.number] is None:
            self.user.append(question)
        self.asked[question.number] = self.ref.ask_async(question, 3600.0)

    @rule()
    def tell_control(self) -> None:
        question = self._question("answer")
        if self.alive:
            self.ref.tell_control(question)
            self.control.append(question)
        else:
            with pytest.raises(ActorDead):
                self.ref.tell_control(question)

    @precondition(lambda self: self.alive and (self.control or self.user))
    @rule()
    def turn(self) -> None:
        question = self.control.pop(0) if self.control else self.user.pop(0)
        goes_on = self.loop.turn()
        if question is None:
            self._died()
        elif self.expected.get(question.number) is None:
            self._handled(question)
        assert goes_on is self.alive

    @rule()
    def stop(self) -> None:
        self.ref.stop(SHUTDOWN)
        if self.alive:
            self.control.append(None)

    @rule(really=st.integers(0, 9))
    def fence(self, really: int) -> None:
        if really == 7:
            assert self.ref.fence() is self.alive
            self._died()

    @precondition(lambda self: self._open())
    @rule(pick=st.integers(0, 99))
    def deadline_passes(self, pick: int) -> None:
        number = self._open()[pick % len(self._open())]
        self.expected[number] = AskTimeout
        self.asked[number].fail(AskTimeout("too late"))

    @precondition(lambda self: self.probe.deferred)
    @rule(pick=st.integers(0, 99), works=st.booleans())
    def deferred_answer_comes(self, pick: int, *, works: bool) -> None:
        numbers = sorted(self.probe.deferred)
        number = numbers[pick % len(numbers)]
        answer = self.probe.deferred.pop(number)
        if number in self._open():
            self.expected[number] = number if works else ExpectedError
        assert answer.resolve(number) if works else answer.fail(ExpectedError("could not"))

    @invariant()
    def everyone_knows_what_the_model_knows(self) -> None:
        if not hasattr(self, "probe"):
            return
        assert self.probe.seen == self.seen
        assert self.ref.alive is self.alive
        assert self.ref.exit.done is not self.alive
        assert self.ref.mailbox == len(self.control) + len(self.user)
        for number, future in self.asked.items():
            expected = self.expected[number]
            assert future.done is (expected is not None)
            if isinstance(expected, type):
                assert type(future.error) is expected
            elif expected is not None:
                assert future.result() == expected

    def teardown(self) -> None:
        if hasattr(self, "probe") and self.alive:
            self.ref.fence()
            self._died()
            self.everyone_knows_what_the_model_knows()

    def _question(self, kind: str) -> Question:
        self.count += 1
        return Question(self.count, kind)

    def _refusal(self) -> type[Exception] | None:
        if not self.alive:
            return ActorDead
        return MailboxFull if len(self.user) >= LIMIT else None

    def _open(self) -> list[int]:
        return [number for number, answer in self.expected.items() if answer is None]

    def _handled(self, question: Question) -> None:
        number = question.number
        self.seen.append(number)
        answers = {"refuse": ExpectedError, "crash": ActorCrashed, "defer": None}
        if number in self.expected:
            self.expected[number] = answers.get(question.kind, number)
        if question.kind in ("crash", "leave"):
            self._died()

    def _died(self) -> None:
        self.alive = False
        self.control, self.user = [], []
        for number in self._open():
            self.expected[number] = ActorDead


STEPS = 25
NOTICED = (AssertionError, pytest.fail.Exception)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="cortex.actors")


def test_no_question_stays_open_and_control_comes_first() -> None:
    holds(AskMachine, examples=120, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE_INBOXES, ids=lambda naive: naive.__name__)
def test_a_naive_inbox_is_noticed(naive: type[Inbox]) -> None:
    machine = type("NaiveMachine", (AskMachine,), {"inbox_class": naive})
    is_found_out(machine, steps=STEPS, by=NOTICED)


@pytest.mark.parametrize("naive", NAIVE_CELLS, ids=lambda naive: naive.__name__)
def test_a_naive_cell_is_noticed(naive: Patch) -> None:
    machine = type("NaiveMachine", (AskMachine,), {"patch": staticmethod(naive)})
    is_found_out(machine, steps=STEPS, by=NOTICED)
