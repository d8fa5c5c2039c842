"""Drives a rank as an engine does: gives sequences their blocks and feeds them step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from neuron_runtime.torch_backend.backend import TorchBackend
from transports.schemas.group import SampledToken, SampleParams, SequenceStep, Step

GREEDY = SampleParams()
OWN_BLOCKS = 17


def opening(
    sequence: int, tokens: Sequence[int], sample: SampleParams | None = None
) -> SequenceStep:
    """Return the first part of a sequence, with blocks of its own for up to 272 tokens."""
    first = sequence * OWN_BLOCKS
    blocks = tuple(range(first, first + OWN_BLOCKS))
    return SequenceStep(sequence, 0, tuple(tokens), sample, blocks, begin=True)


@final
class Feeder:
    """Blocks are handed out in order; none is ever taken back."""

    def __init__(self, backend: TorchBackend, block_tokens: int = 16) -> None:
        self.backend = backend
        self._block_tokens = block_tokens
        self._next_block = 0
        self._steps = 0
        self._reached: dict[int, int] = {}
        self.tables: dict[int, list[int]] = {}

    def part(
        self,
        sequence: int,
        tokens: Sequence[int],
        sample: SampleParams | None = None,
        shared: Sequence[int] = (),
    ) -> SequenceStep:
        """Return the part that feeds ``tokens``; a new sequence may begin on ``shared`` blocks."""
        begin = sequence not in self._reached
        position = self._reached.get(sequence, len(shared) * self._block_tokens)
        table = self.tables.setdefault(sequence, list(shared))
        before = 0 if begin else len(table)
        needed = -(-(position + len(tokens)) // self._block_tokens)
        while len(table) < needed:
            table.append(self._next_block)
            self._next_block += 1
        self._reached[sequence] = position + len(tokens)
        blocks = tuple(table[before:])
        return SequenceStep(sequence, position, tuple(tokens), sample, blocks, begin)

    def step(self, *parts: SequenceStep, forget: Sequence[int] = ()) -> dict[int, SampledToken]:
        """Execute one step; return what was drawn for each sequence."""
        self._steps += 1
        done = self.backend.step(Step(self._steps, parts, tuple(forget)))
        return {each.sequence: each for each in done.tokens}

    def generate(
        self, prompts: Sequence[Sequence[int]], new_tokens: int, chunk: int = 10_000
    ) -> list[list[int]]:
        """Generate greedily for all prompts in one batch, ``chunk`` tokens of each a step."""
        pending = [list(prompt) for prompt in prompts]
        outputs: list[list[int]] = [[] for _ in prompts]
        first = 1 + max(self._reached, default=0)
        while any(len(output) < new_tokens for output in outputs):
            parts = []
            for index, waiting in enumerate(pending):
                if len(outputs[index]) >= new_tokens:
                    continue
                feed, pending[index] = waiting[:chunk], waiting[chunk:]
                last = not pending[index]
                parts.append(self.part(first + index, feed, GREEDY if last else None))
            for sequence, drawn in self.step(*parts).items():
                outputs[sequence - first].append(drawn.token)
                pending[sequence - first] = [drawn.token]
        return outputs
