"""Which sequences run in the next step, and what each event means for them. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- a sequence that ``submit`` accepted ends with exactly one ``Ended``, and draws tokens of
  contiguous indexes before it;
- it is in exactly one place (see ``Seats``), and how many are alive is bounded;
- at most one step is open; what it draws for a sequence that has ended meanwhile is dropped;
- a step is of several rounds only if all that run decode, and of no more than each has room for;
- the table of an ended sequence is forgotten by the ranks in the next step, and its blocks are
  free for that step;
- blocks can be used again only once the step that filled them has closed well.

A step feeds every sequence that decodes and, as far as its budget of tokens goes, prompts, strictly
one after another. When the group is lost, those that ran are fed prompt and output again on the
next epoch, ahead of what waited.

When a step with several sequences was the end of the group, or all ranks report the same error for
it, each of them is fed from the start again, alone, until it has drawn a token: the one that fails
alone is the culprit, the others go on undisturbed. Without memory for a step, the ranks are given
smaller ones first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import final

from neuron_runtime.engine.context_limit import too_many_tokens
from neuron_runtime.engine.events import Drawn, Ended, Event, Events
from neuron_runtime.engine.kv_blocks import KvBlocks
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.longest_line_drop import GIVES_WAY, dropped_for
from neuron_runtime.engine.seats import Seats
from neuron_runtime.engine.sequence import Ending, FinishReason, Sequence
from neuron_runtime.engine.step_budget import StepBudget
from neuron_runtime.engine.step_composer import Shown, StepComposer
from neuron_runtime.following_step import following
from neuron_runtime.poison import PoisonLedger
from transports.failures import FailureCode
from transports.schemas.group import SampledToken, Step
from transports.schemas.link import Failure

_ENDLESS = 1 << 30


class SchedulerCorrupt(AssertionError):
    """The scheduler's state contradicts itself; says how."""


@final
class Scheduler:
    """The sequences of one model. One thread; ``now`` is monotonic seconds throughout.

    ``context_length`` is how long a sequence may get, None while it is not known. ``salt`` keeps
    others from guessing what identifies a block's content. ``shown`` is what a client gets to see
    of a token, in bytes; without it each is taken for a whole character.
    """

    def __init__(self, limits: Limits, salt: bytes = b"", shown: Shown = lambda _: b"?") -> None:
        self.limits = limits
        self.draining = False
        self.context_length: int | None = None
        self._salt = salt
        self._seats = Seats(limits.max_running, self._pool(0))
        self._budget = StepBudget(limits.step_tokens, limits.prefill_tokens)
        self._composer = StepComposer(self._seats, self._budget, shown)
        self._alive: dict[int, Sequence] = {}
        self._deadlines: list[tuple[float, int]] = []
        # A step that only forgets is not repeated after a failure, or it would be for ever.
        self._forgets_alone = True
        self._open: Step | None = None
        self._opened = 0.0
        self._rounds_done = self._queued = 0
        self._steps = 0
        self._blocks = 0
        self._eos: frozenset[int] = frozenset()
        self._ready = False
        self._poison = PoisonLedger()

    @property
    def running(self) -> int:
        """How many sequences hold a seat."""
        return len(self._seats.running) + len(self._seats.suspects)

    @property
    def waiting(self) -> int:
        """How many sequences wait for one."""
        return len(self._seats.queue)

    @property
    def idle(self) -> bool:
        """Whether no sequence is alive."""
        return not self._alive

    @property
    def open_step(self) -> Step | None:
        """The step whose outcome is awaited."""
        return self._open

    @property
    def rounds_to_end(self) -> int | None:
        """The number of the open step if its rounds should end, because another would differ."""
        step = self._open
        if step is None or step.rounds == 1:
            return None
        seats = self._seats
        gone = any(part.sequence not in seats.running for part in step.sequences)
        return step.step if gone or len(seats.queue) > self._queued else None

    @property
    def open_masks(self) -> bytes:
        """The mask frame of the open step; empty if no sequence in it is masked."""
        return b"".join(self._composer.masks)

    # -- sequences ------------------------------------------------------------------------------

    def refusal(self, count: int = 1, principal: str = "") -> Failure | None:
        """Say why no ``count`` sequences of ``principal`` at all would be accepted now, or None.

        None too if they would be once ``make_way`` has been called for them.
        """
        if self.draining:
            return Failure(FailureCode.SHUTTING_DOWN, "the model is being unloaded; try again")
        if self._lacking(count) <= 0 or self._dropped_for(principal, count):
            return None
        return self._overloaded("try again later")

    def make_way(self, *sequences: Sequence) -> Events:
        """End those that must give up their places for ``sequences``, which are about to come."""
        principal = sequences[0].principal
        if any(map(self._too_long, sequences)) or self._lacking(len(sequences)) <= 0:
            return ()
        failure = self._overloaded(GIVES_WAY)
        dropped = self._dropped_for(principal, len(sequences))
        return tuple(event for each in dropped for event in self.end(each.id, failure))

    def is_full(self, sequence: Sequence) -> bool:
        """Whether a sequence has all the output that it may have."""
        return self._left(sequence) <= 0

    def submit(self, *sequences: Sequence) -> Failure | None:
        """Accept all of ``sequences``, or say why not; a refused one gets no event."""
        # Whoever had to give way has gone by now.
        refusal = self.refusal(len(sequences))
        for sequence in sequences:
            refusal = refusal or self._too_long(sequence)
        if refusal is not None:
            return refusal
        for sequence in sequences:
            self._alive[sequence.id] = sequence
            self._seats.queue.push(sequence)
            if sequence.deadline is not None:
                heapq.heappush(self._deadlines, (sequence.deadline, sequence.id))
        return None

    def end(self, sequence: int, end: Ending) -> Events:
        """End a sequence from outside (cancelled, a stop string); nothing if it has ended."""
        found = self._alive.pop(sequence, None)
        if found is None:
            return ()
        self._seats.remove(found)
        self._poison.forget(str(found.id))
        return (Ended(found, end),)

    def end_all(self, end: Ending) -> Events:
        """End every sequence."""
        return tuple(event for id_ in list(self._alive) for event in self.end(id_, end))

    def expire(self, now: float) -> Events:
        """End the sequences whose deadline has passed, at any phase."""
        failure = Failure(FailureCode.DEADLINE_EXCEEDED, "the request was not finished in time")
        events: list[Event] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            events += self.end(heapq.heappop(self._deadlines)[1], failure)
        return tuple(events)

    def next_deadline(self) -> float | None:
        """Return when ``expire`` has something to do."""
        while self._deadlines and self._deadlines[0][1] not in self._alive:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    # -- the group ------------------------------------------------------------------------------

    def configure(
        self,
        context_length: int | None,
        eos: Iterable[int],
        blocks: int = 0,
        *,
        alone: bool = False,
        short_context: int = 0,
    ) -> Events:
        """Learn, or learn anew, what the ranks can do; ends those waiting that cannot fit.

        ``blocks`` is how many blocks of keys and values each of them has; 0 if they manage these
        in their own way. One that is ``alone`` has all tokens that it draws, so its steps may be of
        several rounds. ``short_context`` is as they say it.
        """
        self._blocks, self._seats.short_context = blocks, short_context
        self._composer.most_rounds = self.limits.rounds if alone else 1
        held = blocks * self.limits.block_tokens
        known = [length for length in (context_length, held) if length]
        self.context_length = min(known, default=None)
        self._eos = frozenset(eos)
        events: list[Event] = []
        for each in [*self._seats.suspects, *self._seats.queue]:
            failure = self._too_long(each)
            if failure is not None:
                events += self.end(each.id, FinishReason.LENGTH if each.output else failure)
        return tuple(events)

    def group_ready(self) -> None:
        """A new epoch has loaded; its caches are empty."""
        self._seats.put_back_all(self._pool(self._blocks))
        self._budget.reset()
        self._ready = True

    def group_lost(self) -> Events:
        """The epoch is gone. What ran will be replayed, except what has now seen two deaths.

        Those that may have been its end are replayed one by one, so that the next death is the
        culprit's alone.
        """
        if not self._ready:
            return ()
        known = [each for each in self._seats.running.values() if each.begun]
        charged = self.stepping() if self._open else known
        self._ready = False
        self._open = None
        poisonous = self._poison.group_died(str(each.id) for each in charged)
        for each in charged:
            if each.alone or len(charged) > 1:
                self._seats.suspect(each)
        self._seats.put_back_all(self._pool(0))
        failure = Failure(
            FailureCode.POISONED_REQUEST,
            "the model's workers died twice while this request ran; it will not be tried again",
        )
        return tuple(
            event
            for each in charged
            if str(each.id) in poisonous
            for event in self.end(each.id, failure)
        )

    # -- steps ----------------------------------------------------------------------------------

    def next_step(self, now: float) -> Step | None:
        """Open the next step; None if one is open, no group is ready, or nothing is to be done."""
        if not self._ready or self._open is not None:
            return None
        parts, forget = self._composer.parts(now), self._seats.forget
        if not parts and not (forget and self._forgets_alone):
            return None
        self._steps += 1
        rounds = self._composer.rounds(parts)
        if rounds > 1:
            running = self._seats.running
            rounds = min(rounds, *(self._left(running[part.sequence]) for part in parts))
        forgotten = tuple(sorted(forget)) if forget else ()
        self._open = Step(self._steps, tuple(parts), forgotten, rounds)
        self._opened, self._rounds_done, self._queued = now, 0, len(self._seats.queue)
        forget.clear()
        return self._open

    def stepping(self) -> list[Sequence]:
        """Return those in the open step that have not ended."""
        running = self._seats.running
        parts = self._open.sequences if self._open else ()
        return [running[part.sequence] for part in parts if part.sequence in running]

    def step_done(
        self, tokens: Iterable[SampledToken], now: float, *, more: bool = False
    ) -> Events:
        """Close the open step with what rank 0 drew; with ``more``, its next round is open then."""
        step, tokens = self._close(), tuple(tokens)
        if more:
            self._open = following(step, tokens)
        self._forgets_alone = True
        self._rounds_done += 1
        if not more:
            # What came of several rounds may have been read all at once.
            self._composer.observe(step, (now - self._opened) / self._rounds_done)
        drawn = {each.sequence: each for each in tokens}
        events: list[Event] = []
        for part in step.sequences:
            sequence = self._seats.running.get(part.sequence)
            if sequence is None:
                continue
            self._seats.fed(sequence, len(part.tokens))
            if part.sample is not None:
                events += self._drew(sequence, drawn.get(part.sequence), now)
        return tuple(events)

    def step_failed(self, code: str, message: str) -> Events:
        """Close the open step with an error that all ranks reported alike."""
        batch, seats = self.stepping(), self._seats
        step = self._close()
        self._forgets_alone = False
        seats.forget.update(step.forget)
        if code != FailureCode.OUT_OF_MEMORY:
            # What the failure has to do with the blocks' content is not known.
            seats.blocks.forget_content()
        elif self._budget.shrink(max((len(part.tokens) for part in step.sequences), default=0)):
            for each in batch:
                seats.rewind(each)
            return ()
        if len(step.sequences) == 1:
            failure = Failure(code, f"the model could not process this request: {message}")
            return tuple(event for each in batch for event in self.end(each.id, failure))
        for each in batch:
            seats.suspect(each)
        return ()

    def check_integrity(self) -> None:
        """Verify what must always hold; cheap enough for every event of a test.

        Raises:
            SchedulerCorrupt, SeatsCorrupt, KvBlocksCorrupt: It does not.
        """
        self._seats.check_integrity()
        ids = sorted(each.id for each in self._seats.alive())
        faults = {
            "a sequence is in two places or none": ids != sorted(self._alive),
            "too many live": len(ids) > self.limits.max_queued + self.limits.max_running,
            "something runs without a group": not self._ready and bool(self._seats.running),
            "a step is open without a group": not self._ready and self._open is not None,
            "the poison ledger has outlived its requests": len(self._poison) > len(ids),
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise SchedulerCorrupt("; ".join(wrong))

    # -- inside ---------------------------------------------------------------------------------

    def _pool(self, blocks: int) -> KvBlocks:
        return KvBlocks(blocks, self.limits.block_tokens, self._salt)

    def _left(self, sequence: Sequence) -> int:
        """Return how many tokens a sequence may still draw."""
        limits = [_ENDLESS]
        if sequence.max_tokens is not None:
            limits.append(sequence.max_tokens - len(sequence.output))
        if self.context_length is not None:
            limits.append(self.context_length - sequence.length)
        return min(limits)

    def _drew(self, sequence: Sequence, drawn: SampledToken | None, now: float) -> Events:
        if drawn is None:
            failure = Failure(FailureCode.INTERNAL, "the model's workers returned no token")
            return self.end(sequence.id, failure)
        token = drawn.token
        sequence.alone = False
        if sequence.first_token is None:
            sequence.first_token = now
        sequence.output.append(token)
        # After its end a constrained output could only go on with end tokens.
        if token in self._eos and (sequence.mask is not None or not sequence.ignore_eos):
            return self.end(sequence.id, FinishReason.STOP)
        if sequence.mask is not None and not sequence.mask.accept(token):
            text = f"the model's workers drew token {token}, which the constraint forbids"
            return self.end(
                sequence.id, sequence.mask.failure or Failure(FailureCode.INTERNAL, text)
            )
        event = Drawn(sequence, len(sequence.output) - 1, token, drawn.logprob, drawn.top)
        if self.is_full(sequence):
            return (event, *self.end(sequence.id, FinishReason.LENGTH))
        self._seats.lengthened(sequence)
        return (event,)

    def _too_long(self, sequence: Sequence) -> Failure | None:
        if self.context_length is None or sequence.length < self.context_length:
            return None
        return too_many_tokens(self.context_length, len(sequence.prompt))

    def _lacking(self, count: int) -> int:
        """Return how many places are missing for ``count`` sequences."""
        return len(self._alive) + count - self.limits.max_running - self.limits.max_queued

    def _dropped_for(self, principal: str, count: int) -> list[Sequence]:
        return dropped_for(principal, count, self._lacking(count), self._alive.values())

    def _overloaded(self, advice: str) -> Failure:
        return Failure(
            FailureCode.OVERLOADED,
            f"the model's queue is full ({self.limits.max_queued} requests); {advice}",
            # A second for each full set of seats that waits ahead.
            retry_after_s=min(30.0, max(1.0, self.waiting / self.limits.max_running)),
        )

    def _close(self) -> Step:
        if self._open is None:
            raise SchedulerCorrupt("a step was closed that is not open")
        step, self._open = self._open, None
        return step
