"""One step as the model sees it: the tokens of all its sequences, one after another."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import torch


class Span(msgspec.Struct, frozen=True):
    """Rows ``start`` to ``end`` are one sequence, whose first is at ``position`` of it.

    ``slot`` is the row of its block table; ``long`` as in ``SequenceStep``.
    """

    start: int
    end: int
    position: int
    slot: int
    long: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows are tokens; those of one sequence are neighbours with ascending positions.

    tokens, positions, slots: int32 [rows], on the CPU. tables: int32 [slots, blocks], on the CPU;
    it may be wider than any sequence needs. wanted: int32 [logit rows], the rows whose logits are
    asked for. spans: the sequences, in order.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    tables: torch.Tensor
    wanted: torch.Tensor
    spans: tuple[Span, ...]

    @classmethod
    def of(
        cls, spans: tuple[Span, ...], tokens: list[int], wanted: list[int], tables: torch.Tensor
    ) -> Batch:
        """Lay out ``tokens``, of which ``spans`` says whose they are."""
        positions: list[int] = []
        slots: list[int] = []
        for span in spans:
            count = span.end - span.start
            positions += range(span.position, span.position + count)
            slots += [span.slot] * count
        return cls(_ints(tokens), _ints(positions), _ints(slots), tables, _ints(wanted), spans)


def _ints(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)
