"""What goes into the next step: all that decode, then prompts while the budget lasts. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from neuron_runtime.engine.seats import Seats
from neuron_runtime.engine.sequence import Sequence
from neuron_runtime.engine.step_budget import StepBudget
from neuron_runtime.engine.token_bytes import LONGEST_CHARACTER, missing_bytes
from transports.schemas.group import SequenceStep, Step

Shown = Callable[[int], bytes]

_AFTER_SPECIAL = 2
"""Tokens without text often come in pairs."""


@final
class StepComposer:
    """Composes steps of those that sit, and admits newcomers while there is budget for them.

    ``masks`` are the rows of the mask frame of the step composed last. Of ``most_rounds`` a step
    has at most. ``shown`` is what a client gets to see of a token.
    """

    def __init__(self, seats: Seats, budget: StepBudget, shown: Shown) -> None:
        self._seats = seats
        self._budget = budget
        self._shown = shown
        self._spared = 0
        self.masks: list[bytes] = []
        self.most_rounds = 1

    def parts(self, now: float) -> list[SequenceStep]:
        """Return the parts of the next step; ``now`` is when those that are new to it start."""
        self.masks.clear()
        self._spared = 0
        seats = self._seats
        trial = seats.trial()
        if trial is not None:
            return [self._feed(trial, self._budget.tokens(0), now)]
        seats.make_room(1 if len(seats.queue) else self.most_rounds)
        if len(seats.queue) and all(each.pending == 1 for each in seats.running.values()):
            seats.give_way()
        decoding = [each for each in seats.running.values() if each.pending == 1]
        waiting = len(seats.running) - len(decoding) + min(len(seats.queue), seats.free)
        unseen = max(map(self._unseen, decoding), default=0) if waiting else 0
        budget = self._budget.tokens(len(decoding), waiting, unseen=unseen > 0)
        self._spared = 0 if budget else unseen
        parts = []
        for each in seats.running.values():
            if each.pending == 1:
                parts.append(self._feed(each, 1, now))
            elif budget > 0:
                parts.append(self._feed(each, budget, now))
                budget -= len(parts[-1].tokens)
        if len(seats.queue) and budget > 0:
            parts += self._admitted(parts, budget, now)
        return parts

    def rounds(self, parts: list[SequenceStep]) -> int:
        """Return for how many rounds these parts may go on with nobody to decide anything.

        That is one where somebody waits, a prompt is not done, or an output is constrained: its
        mask follows from what is drawn, and may begin with it. Whoever waits while others have seen
        nothing waits until they may have.
        """
        rounds = self._rounds(parts)
        if self._spared:
            self._budget.spare(rounds)
        return rounds

    def _rounds(self, parts: list[SequenceStep]) -> int:
        seats = self._seats
        alone = len(parts) == len(seats.running) and not len(seats.queue)
        if not parts or seats.suspects or not (alone or self._spared):
            return 1
        if any(len(part.tokens) > 1 or part.sample is None for part in parts):
            return 1
        fed = [seats.running[part.sequence] for part in parts]
        if any(each.mask is not None for each in fed):
            return 1
        rooms = (min(seats.room(each), seats.until_long(each)) for each in fed)
        return max(1, min(self.most_rounds, self._spared or self.most_rounds, *rooms))

    def observe(self, step: Step, seconds: float) -> None:
        """A step has gone well and taken so long; a step that takes no time teaches nothing."""
        if not step.sequences or seconds <= 0:
            return
        sizes = [len(part.tokens) for part in step.sequences]
        self._budget.observe(seconds, sizes.count(1), sum(size for size in sizes if size > 1))

    def _unseen(self, sequence: Sequence) -> int:
        """Return for how many tokens to wait if the last one of an output has shown nothing."""
        if not sequence.output:
            return 0
        last = self._shown(sequence.output[-1])
        if last.isascii():
            return 0 if last else _AFTER_SPECIAL
        before = map(self._shown, sequence.output[-LONGEST_CHARACTER:-1])
        return missing_bytes(b"".join((*before, last)))

    def _admitted(self, parts: list[SequenceStep], budget: int, now: float) -> list[SequenceStep]:
        """Return the parts of newcomers; one whose prompt is being computed already waits."""
        seats, added = self._seats, list[SequenceStep]()
        being_filled = {key for part in parts for key in self._filled_by(part)}
        while budget > 0 and (sequence := seats.admit(being_filled)) is not None:
            added.append(self._feed(sequence, budget, now))
            budget -= len(added[-1].tokens)
            being_filled.update(self._filled_by(added[-1]))
        return added

    def _filled_by(self, part: SequenceStep) -> list[bytes]:
        """Return the keys of the blocks that are full after this part."""
        blocks = self._seats.blocks
        first = part.position // blocks.block_tokens
        last = (part.position + len(part.tokens)) // blocks.block_tokens
        if first == last or not blocks.count:
            return []
        return self._seats.keys(self._seats.running[part.sequence], last)[first:last]

    def _feed(self, sequence: Sequence, limit: int, now: float) -> SequenceStep:
        if sequence.started is None:
            sequence.started = now
            sequence.request.begun = True
        masked = False
        if sequence.mask is not None and sequence.pending <= limit:
            row = sequence.mask.mask()
            if row is not None:
                masked = True
                self.masks.append(row)
        return sequence.feed(limit, masked=masked)
