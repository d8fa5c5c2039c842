"""Seats and pools of blocks with one mistake each, for the scheduler's machine to find."""

from __future__ import annotations

from collections.abc import Sequence as Items

from neuron_runtime.engine.kv_blocks import KvBlocks
from neuron_runtime.engine.seats import Seats
from neuron_runtime.engine.sequence import Sequence


class ReusesTheWholePrompt(Seats):  # type: ignore[misc]
    """Leaves nothing to compute, and so nothing to draw from."""

    def _places(self, sequence: Sequence) -> range:
        return range(sequence.length // self.blocks.block_tokens)


class LosesPreemptedOutput(Seats):  # type: ignore[misc]
    """Starts a preempted sequence again from its prompt."""

    def _preempt(self, victim: Sequence) -> None:
        victim.output.clear()
        super()._preempt(victim)


class KeepsPreemptedBlocks(Seats):  # type: ignore[misc]
    """Does not give the blocks of the preempted back."""

    def _preempt(self, victim: Sequence) -> None:
        victim.blocks = []
        super()._preempt(victim)


class NeverMakesRoom(Seats):  # type: ignore[misc]
    """Lets sequences decode without a block for what comes next."""

    def make_room(self, ahead: int = 1) -> None:
        return


class NeverGivesWay(Seats):  # type: ignore[misc]
    """Lets one key keep every seat as long as it likes."""

    def give_way(self) -> None:
        return


class FirstComeFirstServed(Seats):  # type: ignore[misc]
    """Lets the key with the most requests have the most seats."""

    def admit(self, being_filled: object) -> Sequence | None:
        self.queue._rank = lambda head: head.id  # type: ignore[assignment, return-value]
        return super().admit(being_filled)  # type: ignore[arg-type]


class ChargesFedTokensTwice(Seats):  # type: ignore[misc]
    """Takes more for cached than the ranks were fed."""

    def fed(self, sequence: Sequence, tokens: int) -> None:
        super().fed(sequence, tokens + (tokens > 2))


class GoesOnAsShort(Seats):  # type: ignore[misc]
    """Lets a sequence that has become long keep what it has."""

    def lengthened(self, sequence: Sequence) -> None:
        pass

    def check_integrity(self) -> None:
        pass


class SharesShortWithLong(Seats):  # type: ignore[misc]
    """Takes what was computed for short sequences for long ones."""

    def _root(self, sequence: Sequence) -> bytes | None:
        del sequence
        return None


class FreesSharedBlocks(KvBlocks):  # type: ignore[misc]
    """Frees a table's blocks, whoever else holds them."""

    def release(self, blocks: Items[int]) -> None:
        for block in blocks:
            self._holders[block] = min(self._holders[block], 1)
        super().release(blocks)


class IgnoresWhatCameBefore(KvBlocks):  # type: ignore[misc]
    """Takes equal tokens for equal content, wherever they stand."""

    def key(self, parent: bytes | None, tokens: Items[int]) -> bytes:  # type: ignore[override]
        del parent
        return super().key(None, tokens)


class HandsOutTwice(KvBlocks):  # type: ignore[misc]
    """Leaves idle blocks known when they are given to somebody else."""

    def _fresh(self) -> int:
        if self._unused:
            return super()._fresh()
        block = next(iter(self._idle))
        del self._idle[block]
        self._holders[block] = 1
        return block


NAIVE_SEATS = (
    ReusesTheWholePrompt,
    LosesPreemptedOutput,
    KeepsPreemptedBlocks,
    NeverMakesRoom,
    NeverGivesWay,
    FirstComeFirstServed,
    ChargesFedTokensTwice,
    GoesOnAsShort,
    SharesShortWithLong,
)
NAIVE_POOLS = (FreesSharedBlocks, IgnoresWhatCameBefore, HandsOutTwice)
