"""Ranks that know only what is in their blocks, and how the next token follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_runtime.backends.fake import fake_token
from transports.schemas.group import SampledToken, SampleParams, SequenceStep, Step

VOCABULARY = 9


def right_token(known: list[int], sample: SampleParams) -> int:
    """The one token that may follow ``known``."""
    return fake_token(known, sample) % VOCABULARY


@dataclass(slots=True)
class Table:
    """Whose past is in which blocks, up to where."""

    blocks: list[int]
    reached: int


class BlockRanks:
    """One epoch. What a step does not allow fails an assertion.

    What is kept of a token depends on all tokens before it, as keys and values do, and on whether
    it was fed as one of a long sequence: one of more than ``short_context`` tokens.
    """

    def __init__(self, blocks: int, block_tokens: int, short_context: int) -> None:
        self.size = block_tokens
        self.short_context = short_context
        self.long: dict[tuple[int, int], bool] = {}
        nothing: tuple[int, ...] = ()
        self.content = [[nothing] * block_tokens for _ in range(blocks)]
        self.tables: dict[int, Table] = {}

    def run(self, step: Step, parts: int | None = None) -> tuple[SampledToken, ...]:
        """Execute ``step``, or only its first ``parts`` parts."""
        tokens = []
        for sequence in step.forget:
            self.tables.pop(sequence, None)
        for part in step.sequences[:parts]:
            known = self._feed(part)
            if part.sample is not None:
                token = right_token(known, part.sample)
                tokens.append(SampledToken(part.sequence, token))
        return tuple(tokens)

    def _feed(self, part: SequenceStep) -> list[int]:
        """Write the part's tokens; return all that the sequence's blocks hold."""
        assert part.tokens, "fed nothing"
        if part.begin:
            self.tables[part.sequence] = Table([], part.position)
        assert part.sequence in self.tables, "fed without a table"
        table = self.tables[part.sequence]
        table.blocks += part.blocks
        assert part.position == table.reached, "fed at a place that was not reached"
        known = self._past(table)
        assert part.history in ((), tuple(known)), "another history than the blocks'"
        for token in part.tokens:
            place, offset = divmod(table.reached, self.size)
            assert place < len(table.blocks), "fed without a block"
            block = table.blocks[place]
            others = [t for number, t in self.tables.items() if number != part.sequence]
            assert not any(block in other.blocks for other in others), "a shared block was written"
            known.append(token)
            self.content[block][offset] = tuple(known)
            self.long[block, offset] = part.long
            table.reached += 1
        if part.sample is not None:
            places = [divmod(place, self.size) for place in range(table.reached)]
            kinds = {self.long[table.blocks[place], offset] for place, offset in places}
            assert kinds == {len(known) > self.short_context}, "fed as short and as long"
        return known

    def _past(self, table: Table) -> list[int]:
        """Return the tokens in the table's blocks, which must be of one and the same past."""
        known: list[int] = []
        for place in range(table.reached):
            kept = self.content[table.blocks[place // self.size]][place % self.size]
            assert kept[:-1] == tuple(known), "a block was used that has another past"
            known = list(kept)
            assert len(known) == place + 1, "a block was used that was never computed"
        return known
