"""What a rank remembers of its sequences: their tokens and which blocks hold their past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch

from neuron_runtime.backends.base import BackendError
from transports.failures import FailureCode
from transports.schemas.group import SequenceStep


@dataclass(slots=True, eq=False)
class KnownSequence:
    """``slot`` is its row of the table matrix; ``known`` the tokens that sampling may count.

    ``reached`` tokens have been fed, or were in its blocks when it began.
    """

    slot: int
    known: list[int] = field(default_factory=list)
    reached: int = 0
    blocks: int = 0


@final
class BlockTables:
    """The tables of all sequences as one matrix, changed in place. Main thread only.

    Args:
        blocks: How many blocks there are; their numbers start at 0.
        block_tokens: How many tokens a block holds.
    """

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self._blocks = blocks
        self.block_tokens = block_tokens
        self._sequences: dict[int, KnownSequence] = {}
        self._free: list[int] = []
        self.matrix = torch.zeros((0, 0), dtype=torch.int32)

    def __getitem__(self, sequence: int) -> KnownSequence:
        return self._sequences[sequence]

    def forget(self, sequence: int) -> None:
        """Drop a sequence's table; nothing if there is none."""
        known = self._sequences.pop(sequence, None)
        if known is not None:
            self._free.append(known.slot)

    def clear(self) -> None:
        """Drop all tables."""
        for sequence in list(self._sequences):
            self.forget(sequence)

    def check(self, part: SequenceStep) -> None:
        """Refuse a part that does not continue its sequence; changes nothing.

        Raises:
            BackendError: Its position is not where the sequence is, or it lacks blocks.
        """
        before = None if part.begin else self._sequences.get(part.sequence)
        reached = part.position if part.begin else before.reached if before else 0
        if part.position != reached or (before is None and not part.begin):
            raise _failed(part, f"is at position {reached}, not {part.position}")
        held = (before.blocks if before else 0) + len(part.blocks)
        if part.position + len(part.tokens) > held * self.block_tokens:
            raise _failed(part, f"has {held} blocks, too few for {len(part.tokens)} more tokens")
        if part.blocks and not 0 <= min(part.blocks) <= max(part.blocks) < self._blocks:
            raise _failed(part, f"was given a block that is not among the {self._blocks}")

    def extend(self, part: SequenceStep) -> KnownSequence:
        """Take a checked part's tokens and blocks."""
        if part.begin:
            self.forget(part.sequence)
            self._sequences[part.sequence] = KnownSequence(
                self._slot(), list(part.history), part.position
            )
        known = self._sequences[part.sequence]
        if part.blocks:
            self._widen(known.blocks + len(part.blocks))
            row = self.matrix[known.slot]
            row[known.blocks : known.blocks + len(part.blocks)] = torch.tensor(
                part.blocks, dtype=torch.int32
            )
            known.blocks += len(part.blocks)
        known.known.extend(part.tokens)
        known.reached += len(part.tokens)
        return known

    def _slot(self) -> int:
        if not self._free:
            old = self.matrix.shape[0]
            new = max(16, 2 * old)
            self._resize(new, self.matrix.shape[1])
            self._free = list(range(new - 1, old - 1, -1))
        return self._free.pop()

    def _widen(self, width: int) -> None:
        if width > self.matrix.shape[1]:
            self._resize(self.matrix.shape[0], max(64, 2 * width))

    def _resize(self, slots: int, width: int) -> None:
        matrix = torch.zeros((slots, width), dtype=torch.int32)
        matrix[: self.matrix.shape[0], : self.matrix.shape[1]] = self.matrix
        self.matrix = matrix


def _failed(part: SequenceStep, what: str) -> BackendError:
    return BackendError(FailureCode.STEP_FAILED, f"sequence {part.sequence} {what}")
