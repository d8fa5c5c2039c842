"""A rank and its engine come to the same next round."""

from __future__ import annotations

import pytest

from neuron_runtime.following_step import following
from transports.schemas.group import SampledToken, SampleParams, SequenceStep, Step

FIRST = SampleParams(temperature=0.5, seed=7, index=0)
LATER = SampleParams(top_k=3, index=41)


def test_everyone_is_fed_what_it_drew_where_it_was() -> None:
    parts = (
        SequenceStep(1, 0, (5, 6, 7), FIRST, blocks=(3,), begin=True, history=(9,)),
        SequenceStep(2, 40, (8,), LATER),
    )
    step = Step(12, parts, forget=(4,), rounds=3)

    assert following(step, [SampledToken(2, 21), SampledToken(1, 20)]) == Step(
        12,
        (
            SequenceStep(1, 3, (20,), SampleParams(temperature=0.5, seed=7, index=1)),
            SequenceStep(2, 41, (21,), SampleParams(top_k=3, index=42)),
        ),
        rounds=2,
    )


def test_whoever_drew_nothing_is_left_out() -> None:
    parts = (
        SequenceStep(1, 0, (5,), FIRST),
        SequenceStep(2, 0, (5,)),
        SequenceStep(3, 0, (5,), FIRST),
    )

    assert [
        p.sequence for p in following(Step(1, parts, rounds=2), [SampledToken(3, 1)]).sequences
    ] == [3]


def test_nothing_follows_the_last_round() -> None:
    with pytest.raises(ValueError, match="the last one of step 9"):
        following(Step(9, ()), ())
