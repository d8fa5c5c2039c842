"""A backend that computes nothing, for tests: each token follows from what the sequence was fed.

A token that was sampled for another sequence, step or position is therefore visible as a wrong one,
and a replay of prompt and emitted tokens goes on exactly where the first run was cut off. A voice
of another kind may choose the tokens instead.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from typing import Protocol, final

from neuron_runtime.backends.base import BackendError, OnCollective
from neuron_runtime.backends.fake_cache import FakeCache, digest_of, refused
from transports.failures import FailureCode
from transports.schemas.group import (
    EmbedStep,
    EmbedStepDone,
    LoadShard,
    SampledToken,
    SampleParams,
    ShardAsleep,
    ShardLoaded,
    Step,
    StepDone,
)

CONTEXT_LENGTH = 4096
KV_BLOCKS = 4096
VECTOR_LENGTH = 8
_FIRST_TOKEN, _VOCABULARY = 1000, 30000


def fake_token(fed: Sequence[int], params: SampleParams | None = None) -> int:
    """Return the token that follows ``fed``; a temperature makes it depend on the seed as well."""
    return _token(digest_of(fed), params)


def fake_vector(tokens: Sequence[int]) -> bytes:
    """Return the vector of ``tokens``, which no other sequence is likely to have."""
    digest = digest_of(tokens)
    values = [math.cos(digest * (1 + index)) for index in range(VECTOR_LENGTH)]
    length = math.hypot(*values)
    return struct.pack(f"<{VECTOR_LENGTH}f", *(value / length for value in values))


def _token(digest: int, params: SampleParams | None) -> int:
    if params is not None and params.temperature > 0:
        digest = zlib.crc32(f"{params.seed}/{params.index}".encode(), digest)
    return _FIRST_TOKEN + digest % _VOCABULARY


class Voice(Protocol):
    """Chooses the tokens."""

    def load(self, shard: LoadShard) -> int:
        """Read what it needs; return the context length in tokens.

        Raises:
            BackendError: Something is missing or not readable.
        """
        ...

    def token(self, cache: FakeCache, sequence: int, params: SampleParams) -> int:
        """Return the token that follows what ``sequence`` was fed."""
        ...


@final
class DigestVoice:
    """The token follows from all that was fed, as ``fake_token`` has it."""

    def load(self, shard: LoadShard) -> int:
        """Read nothing."""
        del shard
        return CONTEXT_LENGTH

    def token(self, cache: FakeCache, sequence: int, params: SampleParams) -> int:
        """Return ``fake_token`` of what the sequence was fed."""
        return _token(cache.digest(sequence), params)


@final
class FakeBackend:
    """Remembers which tokens each block holds and what came before; rank 0 answers with tokens.

    A token takes one byte of ``LoadShard.kv_bytes``.
    """

    def __init__(self, *, on_collective: OnCollective, voice: Voice | None = None) -> None:
        self._on_collective = on_collective
        self._voice = voice or DigestVoice()
        self._rank = -1
        self._cache = FakeCache(0, 1)
        self._block_tokens = 1
        self._awake: ShardLoaded | None = None

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Take the rank and load nothing."""
        self._rank = shard.rank
        context = self._voice.load(shard)
        room = max(KV_BLOCKS, 2 * context // shard.block_tokens)
        blocks = shard.kv_bytes // shard.block_tokens if shard.kv_bytes else room
        self._block_tokens = shard.block_tokens
        self._awake = ShardLoaded(shard.rank, 0, 0.0, context, kv_blocks=blocks)
        return self.wake()

    def step(self, step: Step, masks: bytes = b"") -> StepDone:
        """Feed every sequence and, on rank 0, sample.

        A masked sequence gets the next allowed token if its own is not.

        Raises:
            BackendError: A sequence continues at a position that it has not reached, lacks a block
                or a row of the mask, or writes to a block that another one holds.
        """
        for sequence in step.forget:
            self._cache.forget(sequence)
        for part in step.sequences:
            self._cache.feed(part)
        self._on_collective()
        if self._rank != 0:
            return StepDone(step.step, self._rank)
        rows = _rows(step, masks)
        tokens = tuple(
            self._sampled(part.sequence, part.sample, rows)
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
        self._cache.clear()

    def sleep(self) -> ShardAsleep:
        """Give up all blocks: a step that came now would find none."""
        self._cache = FakeCache(0, 1)
        return ShardAsleep(self._rank)

    def wake(self) -> ShardLoaded:
        """Have as many blocks as before, all empty."""
        if self._awake is None:
            raise BackendError(FailureCode.STEP_FAILED, "no model is loaded")
        self._cache = FakeCache(self._awake.kv_blocks, self._block_tokens)
        return self._awake

    def close(self) -> None:
        """Release nothing."""

    def _sampled(self, sequence: int, params: SampleParams, rows: list[bytes]) -> SampledToken:
        token = self._voice.token(self._cache, sequence, params)
        if params.masked:
            token = _allowed(token, rows.pop())
        if params.logprobs < 0:
            return SampledToken(sequence, token)
        top = tuple((token + place, -0.5 * (place + 1)) for place in range(params.logprobs))
        return SampledToken(sequence, token, -0.5, top)


def _rows(step: Step, masks: bytes) -> list[bytes]:
    """Return the masks' rows, the last one first."""
    masked = [p for p in step.sequences if p.sample is not None and p.sample.masked]
    if not masked:
        return []
    width = len(masks) // len(masked)
    if not width or width * len(masked) != len(masks) or width % 4:
        raise refused(masked[0], f"is masked, but the frame has {len(masks)} bytes")
    return [masks[start : start + width] for start in range(0, len(masks), width)][::-1]


def _allowed(token: int, row: bytes) -> int:
    """Return the first allowed token from ``token`` on, starting over after the last."""
    bits = int.from_bytes(row, "little")
    for start in (token, 0):
        later = bits >> start
        if later:
            return start + (later & -later).bit_length() - 1
    raise BackendError(FailureCode.STEP_FAILED, "a mask allows no token")
