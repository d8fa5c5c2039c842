"""Where a batch's rows are, as its device needs to know it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.moved import moved


@dataclass(frozen=True, slots=True)
class Places:
    """A batch on its device, moved there once.

    tokens, positions, wanted: long, as in ``Batch``. blocks, offsets: long [rows], where each row's
    keys and values go. tables: long [spans, blocks], as wide as the longest needs. single: long
    [sequences], the rows of the spans that have one; single_tables are theirs. longer: the other
    spans, with their row of ``tables``.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    wanted: torch.Tensor
    blocks: torch.Tensor
    offsets: torch.Tensor
    tables: torch.Tensor
    single: torch.Tensor
    single_tables: torch.Tensor
    longer: tuple[tuple[int, Span], ...]

    @classmethod
    def of(cls, batch: Batch, block_tokens: int, device: torch.device) -> Places:
        """Move a batch; nothing waits for the device."""
        spans = list(enumerate(batch.spans))
        numbers = [number for number, span in spans for _ in range(span.start, span.end)]
        longer = tuple((number, span) for number, span in spans if span.end - span.start > 1)
        single = [(number, span.start) for number, span in spans if span.end - span.start == 1]
        reach = max(span.position + span.end - span.start for span in batch.spans)
        width = -(-reach // block_tokens)
        slots = torch.tensor([span.slot for span in batch.spans])
        tables = batch.tables[slots, :width]
        lists = (numbers, [number for number, _ in single], [row for _, row in single])
        parts = [
            batch.tokens,
            batch.positions,
            batch.wanted,
            *(torch.tensor(each, dtype=torch.int32) for each in lists),
            tables.flatten(),
        ]
        whole = moved(torch.cat(parts), device).long()
        cut = torch.split(whole, [len(part) for part in parts])
        tokens, positions, wanted, owner, alone, rows, flat = cut
        tables = flat.view(tables.shape)
        blocks = tables[owner, positions // block_tokens]
        offsets = positions % block_tokens
        alone = tables if not longer else tables[alone]
        return cls(tokens, positions, wanted, blocks, offsets, tables, rows, alone, longer)
