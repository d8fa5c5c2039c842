"""How a batch of sequences that feed one token each is laid out for a graph. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neuron_runtime.torch_backend.batch import Batch

MOST_ROWS = 256
LEAST_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class DecodeShape:
    """What a graph is recorded for: ``rows`` sequences, of ``blocks`` blocks each."""

    rows: int
    blocks: int


@dataclass(frozen=True, slots=True)
class DecodeInputs:
    """tokens, positions: long [rows]. tables: long [rows, blocks]."""

    tokens: torch.Tensor
    positions: torch.Tensor
    tables: torch.Tensor


class DecodeLayout:
    """Lays batches out in powers of two.

    Rows without a sequence feed token 0 at position 0 of the ``spare`` block, which belongs to
    none. A table's columns that a row does not reach name a block of its own again, so that nothing
    of another sequence is even read.

    Args:
        block_tokens: How many tokens a block holds.
        spare: The number of a block that no sequence is given.
    """

    def __init__(self, block_tokens: int, spare: int) -> None:
        self._block_tokens, self._spare = block_tokens, spare

    def shape(self, batch: Batch) -> DecodeShape | None:
        """Return the least shape that holds ``batch``, or None: it is not for a graph.

        Every sequence feeds one token and has logits asked for, and there are not too many.
        """
        rows = len(batch.spans)
        if rows != len(batch.tokens) or rows != len(batch.wanted) or not 0 < rows <= MOST_ROWS:
            return None
        last = max(span.position for span in batch.spans)
        blocks = max(LEAST_BLOCKS, last // self._block_tokens + 1)
        return DecodeShape(_power(rows), _power(blocks))

    def packed(self, batch: Batch, shape: DecodeShape) -> torch.Tensor:
        """Return int32 [rows * (2 + blocks)] for ``inputs``, on the CPU."""
        packed = self.blank(shape, 0)
        tokens, positions, tables = _views(packed, shape)
        count = len(batch.tokens)
        tokens[:count] = batch.tokens
        positions[:count] = batch.positions
        width = min(shape.blocks, batch.tables.shape[1])
        own = batch.tables[batch.slots.long(), :width]
        reached = torch.arange(width) <= (batch.positions // self._block_tokens)[:, None]
        tables[:count] = own[:, :1]
        tables[:count, :width] = torch.where(reached, own, own[:, :1])
        return packed

    def blank(self, shape: DecodeShape, token: int) -> torch.Tensor:
        """Return what ``packed`` does for no sequence at all; its rows feed ``token``."""
        packed = torch.zeros(shape.rows * (2 + shape.blocks), dtype=torch.int32)
        tokens, _, tables = _views(packed, shape)
        tokens.fill_(token)
        tables.fill_(self._spare)
        return packed

    def inputs(self, packed: torch.Tensor, shape: DecodeShape) -> DecodeInputs:
        """Return what was packed, where that is now."""
        return DecodeInputs(*(each.long() for each in _views(packed, shape)))


def _views(
    packed: torch.Tensor, shape: DecodeShape
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = shape.rows
    return packed[:rows], packed[rows : 2 * rows], packed[2 * rows :].view(rows, shape.blocks)


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()
