"""A backend that computes nothing, for tests: each token follows from what the sequence was fed.

A token that was sampled for another sequence, step or position is therefore visible as a wrong one,
and a replay of prompt and emitted tokens goes on exactly where the first run was cut off. What a
sequence was fed is read from its blocks, so that a wrong block makes a wrong token as well.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
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
KV_BLOCKS = 4096
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


@dataclass(slots=True)
class _Table:
    blocks: list[int] = field(default_factory=list)
    reached: int = 0
    digest: int = 0


@final
class FakeBackend:
    """Remembers which tokens each block holds and what came before; rank 0 answers with tokens.

    A token takes one byte of ``LoadShard.kv_bytes``.
    """

    def __init__(self, *, on_collective: OnCollective) -> None:
        self._on_collective = on_collective
        self._rank = -1
        self._size = 1
        self._content: list[list[tuple[int, int]]] = []
        self._holders: list[set[int]] = []
        self._tables: dict[int, _Table] = {}

    def load(self, shard: LoadShard) -> ShardLoaded:
        """Take the rank and load nothing."""
        self._rank = shard.rank
        self._size = shard.block_tokens
        blocks = shard.kv_bytes // shard.block_tokens if shard.kv_bytes else KV_BLOCKS
        self._content = [[] for _ in range(blocks)]
        self._holders = [set() for _ in range(blocks)]
        return ShardLoaded(shard.rank, 0, 0.0, CONTEXT_LENGTH, kv_blocks=blocks)

    def step(self, step: Step, masks: bytes = b"") -> StepDone:
        """Feed every sequence and, on rank 0, sample.

        A masked sequence gets the next allowed token if its own is not.

        Raises:
            BackendError: A sequence continues at a position that it has not reached, lacks a block
                or a row of the mask, or writes to a block that another one holds.
        """
        for sequence in step.forget:
            self._forget(sequence)
        for part in step.sequences:
            self._feed(part)
        self._on_collective()
        if self._rank != 0:
            return StepDone(step.step, self._rank)
        rows = _rows(step, masks)
        tokens = tuple(
            _sampled(part.sequence, self._tables[part.sequence].digest, part.sample, rows)
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
        for sequence in list(self._tables):
            self._forget(sequence)

    def close(self) -> None:
        """Release nothing."""

    def _forget(self, sequence: int) -> None:
        table = self._tables.pop(sequence, None)
        for block in table.blocks if table else ():
            self._holders[block].discard(sequence)

    def _feed(self, part: SequenceStep) -> None:
        if part.begin:
            self._forget(part.sequence)
            self._tables[part.sequence] = _Table()
        table = self._tables.get(part.sequence)
        if table is None:
            raise _refused(part, f"is at 0, fed at {part.position}, and has not begun")
        for block in part.blocks:
            if not 0 <= block < len(self._content):
                raise _refused(part, f"was given block {block}, which there is not")
            table.blocks.append(block)
            self._holders[block].add(part.sequence)
        if part.begin:
            self._resume(part, table)
        if part.position != table.reached:
            raise _refused(part, f"is at {table.reached}, fed at {part.position}")
        for token in part.tokens:
            self._write(part, table, token)

    def _resume(self, part: SequenceStep, table: _Table) -> None:
        """Take the tokens before ``position`` from the blocks."""
        held = [kept for block in table.blocks for kept in self._content[block]][: part.position]
        if len(held) < part.position:
            raise _refused(part, f"begins at {part.position}, but has {len(held)} in its blocks")
        for token, digest in held:
            table.digest = _digest((token,), table.digest)
            if table.digest != digest:
                raise _refused(part, "begins with blocks of another past")
        if part.history and part.history != tuple(token for token, _ in held):
            raise _refused(part, "has another history than its blocks")
        table.reached = part.position

    def _write(self, part: SequenceStep, table: _Table, token: int) -> None:
        place, offset = divmod(table.reached, self._size)
        if place >= len(table.blocks):
            raise _refused(part, f"has {place} blocks, too few for another token")
        block = table.blocks[place]
        if self._holders[block] != {part.sequence}:
            raise _refused(part, f"writes to block {block}, which others hold too")
        content = self._content[block]
        if len(content) < offset:
            raise _refused(part, f"leaves a gap in block {block}")
        table.digest = _digest((token,), table.digest)
        content[offset:] = [(token, table.digest)]
        table.reached += 1


def _refused(part: SequenceStep, what: str) -> BackendError:
    return BackendError(FailureCode.STEP_FAILED, f"sequence {part.sequence} {what}")


def _rows(step: Step, masks: bytes) -> list[bytes]:
    """Return the masks' rows, the last one first."""
    masked = [p for p in step.sequences if p.sample is not None and p.sample.masked]
    if not masked:
        return []
    width = len(masks) // len(masked)
    if not width or width * len(masked) != len(masks) or width % 4:
        raise _refused(masked[0], f"is masked, but the frame has {len(masks)} bytes")
    return [masks[start : start + width] for start in range(0, len(masks), width)][::-1]


def _sampled(
    sequence: int, digest: int, params: SampleParams | None, rows: list[bytes]
) -> SampledToken:
    token = _token(digest, params)
    if params is not None and params.masked:
        token = _allowed(token, rows.pop())
    if params is None or params.logprobs < 0:
        return SampledToken(sequence, token)
    top = tuple((token + place, -0.5 * (place + 1)) for place in range(params.logprobs))
    return SampledToken(sequence, token, -0.5, top)


def _allowed(token: int, row: bytes) -> int:
    """Return the first allowed token from ``token`` on, starting over after the last."""
    bits = int.from_bytes(row, "little")
    for start in (token, 0):
        later = bits >> start
        if later:
            return start + (later & -later).bit_length() - 1
    raise BackendError(FailureCode.STEP_FAILED, "a mask allows no token")
