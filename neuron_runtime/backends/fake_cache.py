"""Blocks of keys and values that a backend without a model keeps: the tokens themselves.

What a sequence was fed is read from its blocks, so that a wrong block makes a wrong token as well.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import final

from neuron_runtime.backends.base import BackendError
from transports.failures import FailureCode
from transports.schemas.group import SequenceStep


def digest_of(tokens: Sequence[int], digest: int = 0) -> int:
    """Return the digest of ``tokens`` after others whose digest is given."""
    return zlib.crc32(array("q", tokens).tobytes(), digest)


@dataclass(slots=True)
class _Table:
    blocks: list[int] = field(default_factory=list)
    reached: int = 0
    digest: int = 0


@final
class FakeCache:
    """``blocks`` blocks of ``block_tokens`` tokens each, and which sequences hold them."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self._size = block_tokens
        self._content: list[list[tuple[int, int]]] = [[] for _ in range(blocks)]
        self._holders: list[set[int]] = [set() for _ in range(blocks)]
        self._tables: dict[int, _Table] = {}

    def feed(self, part: SequenceStep) -> None:
        """Write a sequence's tokens where the step says.

        Raises:
            BackendError: The sequence continues at a position that it has not reached, lacks a
                block, or writes to one that another sequence holds.
        """
        if part.begin:
            self.forget(part.sequence)
            self._tables[part.sequence] = _Table()
        table = self._tables.get(part.sequence)
        if table is None:
            raise refused(part, f"is at 0, fed at {part.position}, and has not begun")
        for block in part.blocks:
            if not 0 <= block < len(self._content):
                raise refused(part, f"was given block {block}, which there is not")
            table.blocks.append(block)
            self._holders[block].add(part.sequence)
        if part.begin:
            self._resume(part, table)
        if part.position != table.reached:
            raise refused(part, f"is at {table.reached}, fed at {part.position}")
        for token in part.tokens:
            self._write(part, table, token)

    def digest(self, sequence: int) -> int:
        """Return the digest of all that the sequence was fed."""
        return self._tables[sequence].digest

    def tokens(self, sequence: int) -> tuple[int, ...]:
        """Return all that the sequence was fed."""
        table = self._tables[sequence]
        held = (token for block in table.blocks for token, _ in self._content[block])
        return tuple(islice(held, table.reached))

    def forget(self, sequence: int) -> None:
        """Let go of a sequence's blocks."""
        table = self._tables.pop(sequence, None)
        for block in table.blocks if table else ():
            self._holders[block].discard(sequence)

    def clear(self) -> None:
        """Forget every sequence."""
        for sequence in list(self._tables):
            self.forget(sequence)

    def _resume(self, part: SequenceStep, table: _Table) -> None:
        """Take the tokens before ``position`` from the blocks."""
        held = [kept for block in table.blocks for kept in self._content[block]][: part.position]
        if len(held) < part.position:
            raise refused(part, f"begins at {part.position}, but has {len(held)} in its blocks")
        for token, digest in held:
            table.digest = digest_of((token,), table.digest)
            if table.digest != digest:
                raise refused(part, "begins with blocks of another past")
        if part.history and part.history != tuple(token for token, _ in held):
            raise refused(part, "has another history than its blocks")
        table.reached = part.position

    def _write(self, part: SequenceStep, table: _Table, token: int) -> None:
        place, offset = divmod(table.reached, self._size)
        if place >= len(table.blocks):
            raise refused(part, f"has {place} blocks, too few for another token")
        block = table.blocks[place]
        if self._holders[block] != {part.sequence}:
            raise refused(part, f"writes to block {block}, which others hold too")
        content = self._content[block]
        if len(content) < offset:
            raise refused(part, f"leaves a gap in block {block}")
        table.digest = digest_of((token,), table.digest)
        content[offset:] = [(token, table.digest)]
        table.reached += 1


def refused(part: SequenceStep, what: str) -> BackendError:
    """Return the error of a sequence's part that cannot be run."""
    return BackendError(FailureCode.STEP_FAILED, f"sequence {part.sequence} {what}")
