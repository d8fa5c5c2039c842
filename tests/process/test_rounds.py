"""A rank that goes on by itself: it tells of each round, ends when told to, and can be killed."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.outcome import GroupFailure, Ok, Outcome
from tests.process.neuron import WAIT_S, Epoch, Neuron
from tests.process.steps import answer_to, one_token_step
from transports.schemas.body import Body
from transports.schemas.group import (
    EndRounds,
    InjectFault,
    SampledToken,
    SampleParams,
    SequenceStep,
    Step,
    StepDone,
)

pytestmark = pytest.mark.process

PROMPT = (5, 6)
ENDLESS = 100
SLOW = InjectFault(fault="slow-step", phase="inside", rank=0, times=9, seconds=0.3)
"""Long enough for a word to arrive while a round is under way."""


@pytest.fixture
def epoch(lone_neuron: Neuron) -> Iterator[Epoch]:
    epoch = lone_neuron.ready_group(1)
    yield epoch
    epoch.end()


def step(number: int, rounds: int) -> Step:
    blocks = tuple(range(10 * number, 10 * number + 8))
    part = SequenceStep(number, 0, PROMPT, SampleParams(), blocks, begin=True)
    return Step(number, (part,), rounds=rounds)


def rounds_of(number: int) -> Iterator[StepDone]:
    """The right answers, one after another."""
    known = list(PROMPT)
    while True:
        known.append(fake_token(known))
        yield StepDone(number, 0, (SampledToken(number, known[-1]),))


class Run:
    """One step on its way: what was told of it, and its outcome."""

    def __init__(self, epoch: Epoch, operation: Step) -> None:
        self.told: queue.SimpleQueue[Body] = queue.SimpleQueue()
        self.outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        epoch.neuron.on_reactor(
            lambda: epoch.driver.execute(operation, WAIT_S, self.outcomes.put, (), self.told.put)
        )

    def outcome(self) -> tuple[list[Body], Outcome]:
        """Return all that was told, and the outcome."""
        outcome = self.outcomes.get(timeout=WAIT_S)
        return [self.told.get_nowait() for _ in range(self.told.qsize())], outcome


def test_each_round_is_told_and_the_last_one_is_the_answer(epoch: Epoch) -> None:
    told, outcome = Run(epoch, step(1, rounds=5)).outcome()

    right = rounds_of(1)
    assert told == [next(right) for _ in range(4)]
    assert outcome == Ok((next(right),))
    assert epoch.execute(one_token_step(3)) == answer_to(3, 1)


def test_rounds_end_after_the_one_under_way_when_they_are_to(epoch: Epoch) -> None:
    epoch.inject(SLOW)
    run = Run(epoch, step(1, rounds=ENDLESS))
    first = run.told.get(timeout=WAIT_S)
    epoch.neuron.on_reactor(lambda: epoch.driver.tell(EndRounds(1)))
    told, outcome = run.outcome()

    right = rounds_of(1)
    assert [first, *told] == [next(right)]
    assert outcome == Ok((next(right),))
    assert epoch.execute(one_token_step(3)) == answer_to(3, 1)


def test_the_end_of_rounds_that_are_over_ends_no_others(epoch: Epoch) -> None:
    Run(epoch, step(1, rounds=2)).outcome()
    epoch.neuron.on_reactor(lambda: epoch.driver.tell(EndRounds(1)))
    told, _ = Run(epoch, step(2, rounds=4)).outcome()

    assert len(told) == 3


def test_a_cancelled_rank_does_not_go_on(epoch: Epoch) -> None:
    epoch.inject(SLOW)
    run = Run(epoch, step(1, rounds=ENDLESS))
    run.told.get(timeout=WAIT_S)
    epoch.neuron.on_reactor(epoch.driver.cancel)
    told, outcome = run.outcome()

    assert told == []
    assert isinstance(outcome, Ok)
    assert not epoch.broken.is_set()


@pytest.mark.parametrize("phase", ["before", "inside", "replied"])
def test_a_rank_that_dies_between_rounds_fails_the_step_once(epoch: Epoch, phase: str) -> None:
    epoch.inject(InjectFault(fault="kill-rank", phase=phase, rank=0, after=2))
    told, outcome = Run(epoch, step(1, rounds=ENDLESS)).outcome()

    assert isinstance(outcome, GroupFailure)
    right = rounds_of(1)
    assert told == [next(right) for _ in told]
    assert len(told) <= 3, "it went on after its death"
    assert epoch.broken.wait(WAIT_S)


def test_an_error_in_a_later_round_is_the_steps_error(epoch: Epoch) -> None:
    epoch.inject(InjectFault(fault="oom", phase="inside", rank=0, after=1))
    told, outcome = Run(epoch, step(1, rounds=ENDLESS)).outcome()

    assert len(told) == 1
    assert getattr(outcome, "code", "") == "out_of_memory"
