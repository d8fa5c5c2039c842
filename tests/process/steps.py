"""Steps whose right answer is known."""

from __future__ import annotations

from neuron_runtime.backends.fake import fake_token
from neuron_runtime.outcome import Ok
from transports.schemas.group import (
    CacheCleared,
    SampledToken,
    SampleParams,
    SequenceStep,
    Step,
    StepDone,
)


def one_token_step(number: int) -> Step:
    """A step with one new sequence, different for each number."""
    tokens = (number, number + 1)
    sequence = SequenceStep(number, 0, tokens, SampleParams(), blocks=(number,), begin=True)
    return Step(number, (sequence,))


def answer_to(number: int, world: int = 2) -> Ok:
    """The one right outcome of ``one_token_step(number)``."""
    token = SampledToken(number, fake_token((number, number + 1)))
    followers = (StepDone(number, rank) for rank in range(1, world))
    return Ok((StepDone(number, 0, (token,)), *followers))


def cleared(world: int = 2) -> Ok:
    """The one right outcome of a ClearCache."""
    return Ok(tuple(CacheCleared(rank) for rank in range(world)))
