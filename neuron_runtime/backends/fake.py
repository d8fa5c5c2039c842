"""A backend that computes nothing, for tests: each token follows from what the sequence was fed.

A token that was sampled for another sequence, step or position is therefore visible as a wrong one,
and a replay of prompt and emitted tokens goes on exactly where the first run was cut off.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from collections.abc import Sequence
from typing import final

from neuron_runtime.backends.base import BackendError, OnCollective
from transports.failures import FailureCode
from transports.schemas.group import (
    EmbedStep,
    EmbedStepDone,
    LoadShard,
    SampledToken,
    SampleParams,
    SequenceStep,
    ShardLoaded,
    Step,
    StepDone,
)

CONTEXT_LENGTH = 4096
VECTOR_LENGTH = 8
_FIRST_TOKEN, _VOCABULARY = 1000, 30000


def fake_token(fed: Sequence[int], params: SampleParams | None = None) -> int:
    """Return the token that follows ``fed``; a temperature makes it depend on the seed as well."""
    return _token(_digest(fed), params)


def fake_vector(tokens: Sequence[int]) -> bytes:
    """Return the vector of ``tokens``, which no other sequence is likely to have."""
    digest = _digest(tokens)
    values = [math.cos(digest * (1 + index)) for index in range(VECTOR_LENGTH)]
    length = math.hypot(*values)
    return struct.pack(f"<{VECTOR_LENGTH}f", *(value / length for value in values))


def _digest(tokens: Sequence[int], digest: int = 0) -> int:
    return zlib.crc32(array("q", tokens).tobytes(), digest)


def _token(digest: int, params: SampleParams | None) -> int:
    if params is not None and params.temperature > 0:
        digest = zlib.crc32(f"{params.seed}/{params.index}".encode(), digest)
    return _FIRST_TOKEN + digest % _VOCABULARY


@final
class FakeBackend:
    """Remembers what each sequence was fed; rank 0 answers with tokens."""

    def __init__(self, *, on_collective: OnCollective) -> None:
        self._on_collective = on_collective
        self._rank = -1
        self._fed: dict[int, tuple[int, int]] = {}  # how many tokens, and their digest

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Take the rank and load nothing."""
        self._rank = shard.rank
        return ShardLoaded(shard.rank, 0, 0.0, CONTEXT_LENGTH)

    def step(self, step: Step, masks: bytes = b"") -> StepDone:  # noqa: ARG002
        """Feed every sequence and, on rank 0, sample.

        Raises:
            BackendError: A sequence continues at a position that it has not reached.
        """
        for sequence in step.forget:
            self._fed.pop(sequence, None)
        for part in step.sequences:
            self._feed(part)
        self._on_collective()
        if self._rank != 0:
            return StepDone(step.step, self._rank)
        tokens = tuple(
            SampledToken(part.sequence, _token(self._fed[part.sequence][1], part.sample))
            for part in step.sequences
            if part.sample is not None
        )
        return StepDone(step.step, 0, tokens)

    def embed(self, step: EmbedStep) -> tuple[EmbedStepDone, bytes]:
        """Return each sequence's vector, on rank 0."""
        self._on_collective()
        if self._rank != 0:
            return EmbedStepDone(step.step, self._rank), b""
        rows = b"".join(map(fake_vector, step.sequences))
        return EmbedStepDone(step.step, 0, VECTOR_LENGTH), rows

    def clear(self) -> None:
        """Forget every sequence."""
        self._fed.clear()

    def close(self) -> None:
        """Release nothing."""

    def _feed(self, part: SequenceStep) -> None:
        count, digest = self._fed.get(part.sequence, (0, 0))
        if part.position != count:
            msg = f"sequence {part.sequence} is at {count}, fed at {part.position}"
            raise BackendError(FailureCode.STEP_FAILED, msg)
        self._fed[part.sequence] = (count + len(part.tokens), _digest(part.tokens, digest))
