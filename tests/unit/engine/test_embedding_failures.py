"""What becomes of embeddings whose step fails, or whose ranks die."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_runtime.outcome import Ok
from tests.unit.engine.embedding_bench import EmbeddingBench, make_embedding_dir, right_rows
from transports.failures import FailureCode
from transports.schemas.group import EmbedStep, EmbedStepDone, StepDone


@pytest.fixture
def bench(tmp_path: Path) -> EmbeddingBench:
    return EmbeddingBench(make_embedding_dir(tmp_path))


def test_what_was_in_a_dying_groups_step_is_repeated_on_the_next(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    answer = bench.ask(link, (1,), (2,))
    bench.lose_group()
    assert not answer.ends
    bench.ranks.hold = False
    bench.start_group()

    assert answer.rows == right_rows((1,), (2,))
    assert [step.sequences for step in bench.ranks.steps] == [((1,), (2,))] * 2


def test_a_request_in_two_deaths_is_poisonous_and_the_others_go_on(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    culprit = bench.ask(link, (1,))
    bench.lose_group()
    bench.start_group()
    innocent = bench.ask(link, (2,))
    bench.lose_group()

    assert culprit.failure.code == FailureCode.POISONED_REQUEST
    bench.ranks.hold = False
    bench.start_group()
    assert innocent.rows == right_rows((2,))


def test_a_request_that_kills_groups_takes_none_of_its_neighbours_along(
    bench: EmbeddingBench,
) -> None:
    link = bench.client()
    first, culprit, third = [bench.ask(link, (number,)) for number in (1, 2, 3)]
    bench.ranks.hold = True
    bench.start_group()
    bench.lose_group()
    bench.start_group()
    bench.step()
    assert first.rows == right_rows((1,))
    assert bench.ranks.steps[-1].sequences == ((2,),)
    bench.lose_group()
    bench.start_group()
    bench.step()

    assert culprit.failure.code == FailureCode.POISONED_REQUEST
    assert third.rows == right_rows((3,))


def test_without_memory_smaller_steps_are_tried_before_a_request_is_given_up(
    bench: EmbeddingBench,
) -> None:
    def lacks_memory(step: EmbedStep) -> bool:
        return sum(map(len, step.sequences)) > 4

    bench.ranks.refuse = lacks_memory
    bench.ranks.refusal = FailureCode.OUT_OF_MEMORY
    link = bench.client()
    many = bench.ask(link, *[(number, number) for number in range(5)])
    large = bench.ask(link, (1, 2, 3, 4, 5))
    bench.start_group()

    assert many.rows == right_rows(*[(number, number) for number in range(5)])
    assert large.failure.code == FailureCode.OUT_OF_MEMORY


def test_an_error_of_a_shared_step_ends_only_its_culprit(bench: EmbeddingBench) -> None:
    bench.start_group()
    bench.ranks.hold = True
    link = bench.client()
    bench.ask(link, (0,))
    good, bad = bench.ask(link, (1,), (2,)), bench.ask(link, (13,))
    bench.ranks.refuse = lambda step: (13,) in step.sequences
    bench.ranks.hold = False
    bench.step()

    assert good.rows == right_rows((1,), (2,))
    assert bad.failure.code == FailureCode.STEP_FAILED
    assert "could not process this request: refused on purpose" in bad.failure.message


@pytest.mark.parametrize(
    "outcome",
    [
        Ok((StepDone(1, 0),)),
        Ok((EmbedStepDone(1, 0, 8),)),
        Ok((EmbedStepDone(1, 0, 8),), (b"short",)),
        Ok((EmbedStepDone(1, 0, 0),), (b"",)),
        Ok((EmbedStepDone(2, 0, 8),), (bytes(32),)),
    ],
)
def test_an_answer_that_is_no_answer_is_an_error(bench: EmbeddingBench, outcome: Ok) -> None:
    bench.start_group()
    bench.ranks.hold = True
    answer = bench.ask(bench.client(), (1,))
    bench.ranks.answer_with(outcome)
    bench.settle()
    assert answer.failure.code == FailureCode.INTERNAL


# -- shutdown -----------------------------------------------------------------------------------
