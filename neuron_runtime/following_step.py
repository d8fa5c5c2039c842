"""The pass that follows another of its own accord: everyone is fed what has just been drawn. Pure.

A rank begins it before its engine has heard of the one before, so both must come to the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from transports.schemas.group import SampledToken, SequenceStep, Step


def following(step: Step, tokens: Iterable[SampledToken]) -> Step:
    """Return the next of ``step.rounds``; whoever drew no token is left out.

    Raises:
        ValueError: It was the last.
    """
    if step.rounds <= 1:
        msg = f"no round follows the last one of step {step.step}"
        raise ValueError(msg)
    drawn = {each.sequence: each.token for each in tokens}
    parts = tuple(
        SequenceStep(
            part.sequence,
            part.position + len(part.tokens),
            (drawn[part.sequence],),
            msgspec.structs.replace(part.sample, index=part.sample.index + 1),
            long=part.long,
        )
        for part in step.sequences
        if part.sample is not None and part.sequence in drawn
    )
    return Step(step.step, parts, rounds=step.rounds - 1)
