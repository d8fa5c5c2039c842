"""Steps of an engine whose sequences come and go, with tokens that are known beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from transports.schemas.group import SampleParams, SequenceStep, Step

BLOCK_TOKENS = 4
BLOCKS = 216
VOCABULARY = 203
LONGEST = 90
MOST = 9
_DRAW = SampleParams()


@dataclass
class _Living:
    number: int
    ends_at: int
    blocks: list[int] = field(default_factory=list)
    length: int = 0


class Churn:
    """Up to nine sequences: prompts, decode steps, steps of both, and ends; blocks are reused."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._free = list(range(BLOCKS))
        self._alive: list[_Living] = []
        self._count = 0

    def steps(self, count: int) -> Iterator[Step]:
        for number in range(count):
            forget = self._end()
            parts = []
            seats = MOST - len(self._alive)
            if not self._alive or (seats and self._random.random() < 0.12):
                parts = [self._opening() for _ in range(self._random.randint(1, min(3, seats)))]
            opened = {part.sequence for part in parts}
            parts += [self._next(each) for each in self._alive if each.number not in opened]
            self._random.shuffle(parts)
            yield Step(number, tuple(parts), tuple(forget))

    def _opening(self) -> SequenceStep:
        self._count += 1
        living = _Living(self._count, self._random.randint(31, LONGEST))
        self._alive.append(living)
        return self._feed(living, self._random.choice((1, 3, 4, 7, 30)), begin=True)

    def _next(self, living: _Living) -> SequenceStep:
        return self._feed(living, 1, begin=False)

    def _feed(self, living: _Living, count: int, *, begin: bool) -> SequenceStep:
        tokens = tuple(self._random.randrange(3, VOCABULARY) for _ in range(count))
        position = living.length
        living.length += count
        blocks: list[int] = []
        while (len(living.blocks) + len(blocks)) * BLOCK_TOKENS < living.length:
            blocks.append(self._free.pop(self._random.randrange(len(self._free))))
        living.blocks += blocks
        # Now and then a token is fed of a prompt whose end is still to come.
        draw = None if self._random.random() < 0.02 else _DRAW
        return SequenceStep(living.number, position, tokens, draw, tuple(blocks), begin)

    def _end(self) -> list[int]:
        ended = [each for each in self._alive if each.length >= each.ends_at]
        for each in ended:
            self._alive.remove(each)
            self._free += each.blocks
        return [each.number for each in ended]
