"""The backend that makes crossed answers visible."""

from __future__ import annotations

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.backends.fake import FakeBackend, fake_token
from transports.failures import FailureCode
from transports.schemas.group import (
    LoadShard,
    SampledToken,
    SampleParams,
    SequenceStep,
    Step,
    StepDone,
)

GREEDY = SampleParams()


def loaded(rank: int = 0) -> FakeBackend:
    backend = FakeBackend(on_collective=lambda: None)
    loaded = backend.load(LoadShard("", rank, 2, "cpu", "float32", "", 1))
    assert loaded.rank == rank
    return backend


def test_rank_0_samples_and_the_others_acknowledge() -> None:
    step = Step(4, (SequenceStep(1, 0, (5, 6), GREEDY), SequenceStep(2, 0, (7,))))

    assert loaded(0).step(step) == StepDone(4, 0, (SampledToken(1, fake_token((5, 6))),))
    assert loaded(1).step(step) == StepDone(4, 1)


def test_a_replay_of_what_was_fed_continues_with_the_same_token() -> None:
    first, second = loaded(), loaded()
    first.step(Step(1, (SequenceStep(1, 0, (5, 6), GREEDY),)))
    token = fake_token((5, 6))
    again = first.step(Step(2, (SequenceStep(1, 2, (token,), GREEDY),)))

    replayed = second.step(Step(2, (SequenceStep(1, 0, (5, 6, token), GREEDY),)))

    assert again == replayed


def test_a_seed_changes_the_draw_and_repeats_it() -> None:
    seeded = SampleParams(temperature=1.0, seed=1)

    assert fake_token((5,), seeded) == fake_token((5,), seeded)
    assert fake_token((5,), seeded) != fake_token((5,), SampleParams(temperature=1.0, seed=2))
    assert fake_token((5,), seeded) != fake_token((5,), GREEDY)


def test_a_step_at_a_position_that_was_not_reached_is_refused() -> None:
    with pytest.raises(BackendError, match="sequence 9 is at 0, fed at 3") as caught:
        loaded().step(Step(1, (SequenceStep(9, 3, (1,), GREEDY),)))
    assert caught.value.code == FailureCode.STEP_FAILED


def test_forgotten_and_cleared_sequences_begin_again() -> None:
    backend = loaded()
    begin = SequenceStep(1, 0, (5,), GREEDY)
    backend.step(Step(1, (begin,)))
    backend.step(Step(2, (begin,), forget=(1, 77)))
    backend.clear()

    assert backend.step(Step(3, (begin,))).tokens == (SampledToken(1, fake_token((5,))),)
    backend.close()
