"""Which sequences run in the next step, and what each event means for them. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- a sequence that ``submit`` accepted ends with exactly one ``Ended``, and draws tokens of
  contiguous indexes before it;
- it is in exactly one place, the queue or the running set, and both are bounded;
- at most one step is open; what it draws for a sequence that has ended meanwhile is dropped;
- the cache of an ended sequence is forgotten by the ranks in the next step.

A sequence keeps its slot from its first step to its end. When the group is lost, those that ran go
back to the head of the queue, in order, and are fed prompt and output again on the next epoch.

When all ranks report the same error for a step with several sequences, each of them is fed from
the start again, alone, until it has drawn a token: the one that fails alone is the culprit, the
others go on undisturbed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from neuron_runtime.engine.sequence import Ending, FinishReason, Sequence
from neuron_runtime.poison import PoisonLedger
from transports.failures import FailureCode
from transports.schemas.group import SampledToken, SequenceStep, Step
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sequences run and wait; ``prefill_tokens`` are fed per step at most."""

    max_running: int = 8
    max_queued: int = 64
    prefill_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Drawn:
    """Output token ``index`` of this sequence is ``token``; never an end token."""

    sequence: Sequence
    index: int
    token: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The one terminal event of a sequence."""

    sequence: Sequence
    end: Ending


Event = Drawn | Ended
Events = tuple[Event, ...]


class SchedulerCorrupt(AssertionError):
    """The scheduler's state contradicts itself; says how."""


@final
class Scheduler:
    """The sequences of one model. One thread; ``now`` is monotonic seconds throughout."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.draining = False
        self._queue: deque[Sequence] = deque()
        self._running: dict[int, Sequence] = {}
        self._forget: set[int] = set()
        # A step that only forgets is not repeated after a failure, or it would be for ever.
        self._forgets_alone = True
        self._open: Step | None = None
        self._steps = 0
        self._context_length: int | None = None
        self._eos: frozenset[int] = frozenset()
        self._ready = False
        self._poison = PoisonLedger()

    @property
    def running(self) -> int:
        """How many sequences hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many sequences wait for one."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether no sequence is alive."""
        return not self._queue and not self._running

    @property
    def open_step(self) -> Step | None:
        """The step whose outcome is awaited."""
        return self._open

    # -- sequences ------------------------------------------------------------------------------

    def refusal(self) -> Failure | None:
        """Say why no sequence at all would be accepted now, or None."""
        if self.draining:
            return Failure(FailureCode.SHUTTING_DOWN, "the model is being unloaded; try again")
        if self.running + self.waiting < self.limits.max_running + self.limits.max_queued:
            return None
        return Failure(
            FailureCode.OVERLOADED,
            f"the model has {self.waiting} requests waiting, which is its limit; try again later",
            retry_after_s=self._retry_after_s(),
        )

    def submit(self, sequence: Sequence) -> Failure | None:
        """Accept a sequence, or say why not; a refused one gets no event."""
        refusal = self.refusal() or self._too_long(sequence)
        if refusal is None:
            self._queue.append(sequence)
        return refusal

    def end(self, sequence: int, end: Ending) -> Events:
        """End a sequence from outside (cancelled, a stop string); nothing if it has ended."""
        if (running := self._running.pop(sequence, None)) is not None:
            return (self._ended(running, end),)
        for queued in self._queue:
            if queued.id == sequence:
                self._queue.remove(queued)
                return (self._ended(queued, end),)
        return ()

    def end_all(self, end: Ending) -> Events:
        """End every sequence."""
        return tuple(event for each in self._alive() for event in self.end(each.id, end))

    def expire(self, now: float) -> Events:
        """End the sequences whose deadline has passed, at any phase."""
        late = [
            each for each in self._alive() if each.deadline is not None and each.deadline <= now
        ]
        failure = Failure(FailureCode.DEADLINE_EXCEEDED, "the request was not finished in time")
        return tuple(event for each in late for event in self.end(each.id, failure))

    def next_deadline(self) -> float | None:
        """Return when ``expire`` has something to do."""
        return min((s.deadline for s in self._alive() if s.deadline is not None), default=None)

    # -- the group ------------------------------------------------------------------------------

    def configure(self, context_length: int | None, eos: Iterable[int]) -> Events:
        """Learn, or learn anew, what the model can do; ends those queued that cannot fit."""
        self._context_length = context_length
        self._eos = frozenset(eos)
        refused = [(each.id, self._too_long(each)) for each in self._queue]
        return tuple(
            event for id_, why in refused if why is not None for event in self.end(id_, why)
        )

    def group_ready(self) -> None:
        """A new epoch has loaded; its caches are empty."""
        self._ready = True

    def group_lost(self) -> Events:
        """The epoch is gone. What ran will be replayed, except what has now seen two deaths."""
        if not self._ready:
            return ()
        cached = [each for each in self._running.values() if each.cached]
        charged = self._stepping() if self._open else cached
        self._ready = False
        self._open = None
        self._forget.clear()
        poisonous = self._poison.group_died(_key(each) for each in charged)
        for each in reversed(self._running.values()):
            each.cached = 0
            self._queue.appendleft(each)
        self._running.clear()
        failure = Failure(
            FailureCode.POISONED_REQUEST,
            "the model's workers died twice while this request ran; it will not be tried again",
        )
        return tuple(
            event
            for each in charged
            if _key(each) in poisonous
            for event in self.end(each.id, failure)
        )

    # -- steps ----------------------------------------------------------------------------------

    def next_step(self, now: float) -> Step | None:
        """Open the next step; None if one is open, no group is ready, or nothing is to be done."""
        if not self._ready or self._open is not None:
            return None
        while self._queue and self.running < self.limits.max_running:
            admitted = self._queue.popleft()
            self._running[admitted.id] = admitted
        parts = self._parts()
        if not parts and not (self._forget and self._forgets_alone):
            return None
        for part in parts:
            sequence = self._running[part.sequence]
            if sequence.started is None:
                sequence.started = now
        self._steps += 1
        self._open = Step(self._steps, parts, tuple(sorted(self._forget)))
        self._forget.clear()
        return self._open

    def step_done(self, tokens: Iterable[SampledToken], now: float) -> Events:
        """Close the open step with what rank 0 drew."""
        step = self._close()
        self._forgets_alone = True
        drawn = {each.sequence: each.token for each in tokens}
        events: list[Event] = []
        for part in step.sequences:
            sequence = self._running.get(part.sequence)
            if sequence is None:
                continue
            sequence.cached += len(part.tokens)
            if part.sample is not None:
                events += self._drew(sequence, drawn.get(part.sequence), now)
        return tuple(events)

    def step_failed(self, code: str, message: str) -> Events:
        """Close the open step with an error that all ranks reported alike."""
        step = self._close()
        self._forgets_alone = False
        suspects = [s for part in step.sequences if (s := self._running.get(part.sequence))]
        self._forget.update(step.forget)
        self._forget.update(part.sequence for part in step.sequences)
        for each in suspects:
            each.cached = 0
        if len(step.sequences) == 1:
            failure = Failure(code, f"the model could not process this request: {message}")
            return tuple(event for each in suspects for event in self.end(each.id, failure))
        for each in suspects:
            each.alone = True
        return ()

    def check_integrity(self) -> None:
        """Verify what must always hold; cheap enough for every event of a test.

        Raises:
            SchedulerCorrupt: It does not.
        """
        ids = [each.id for each in self._alive()]
        cached = {each.id for each in self._running.values() if each.cached}
        told = {id_: each.id for id_, each in self._running.items()}
        faults = {
            "a sequence is in two places": len(ids) != len(set(ids)),
            "the running set is keyed wrongly": any(key != id_ for key, id_ in told.items()),
            "too many run": self.running > self.limits.max_running,
            "too many live": len(ids) > self.limits.max_queued + self.limits.max_running,
            "a queued sequence has a cache": any(each.cached for each in self._queue),
            "something runs without a group": not self._ready and bool(self._running),
            "a step is open without a group": not self._ready and self._open is not None,
            "more is cached than known": any(each.pending < 1 for each in self._running.values()),
            "a living cache will be forgotten": bool(self._forget & cached),
            "the poison ledger has outlived its requests": len(self._poison) > len(ids),
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise SchedulerCorrupt("; ".join(wrong))

    # -- inside ---------------------------------------------------------------------------------

    def _alive(self) -> list[Sequence]:
        return [*self._running.values(), *self._queue]

    def _stepping(self) -> list[Sequence]:
        parts = self._open.sequences if self._open else ()
        return [self._running[part.sequence] for part in parts if part.sequence in self._running]

    def _parts(self) -> tuple[SequenceStep, ...]:
        running = list(self._running.values())
        alone = [each for each in running if each.alone]
        budget = self.limits.prefill_tokens
        parts = []
        for each in alone[:1] or running:
            if each.pending == 1:
                parts.append(each.feed(1))
            elif budget > 0:
                part = each.feed(budget)
                budget -= len(part.tokens)
                parts.append(part)
        return tuple(parts)

    def _drew(self, sequence: Sequence, token: int | None, now: float) -> list[Event]:
        if token is None:
            failure = Failure(FailureCode.INTERNAL, "the model's workers returned no token")
            return [*self.end(sequence.id, failure)]
        sequence.alone = False
        if sequence.first_token is None:
            sequence.first_token = now
        sequence.output.append(token)
        if token in self._eos:
            return [*self.end(sequence.id, FinishReason.STOP)]
        events: list[Event] = [Drawn(sequence, len(sequence.output) - 1, token)]
        if self._is_full(sequence):
            events += self.end(sequence.id, FinishReason.LENGTH)
        return events

    def _is_full(self, sequence: Sequence) -> bool:
        if sequence.max_tokens is not None and len(sequence.output) >= sequence.max_tokens:
            return True
        return self._context_length is not None and sequence.length >= self._context_length

    def _too_long(self, sequence: Sequence) -> Failure | None:
        if self._context_length is None or sequence.length < self._context_length:
            return None
        return Failure(
            FailureCode.CONTEXT_LENGTH_EXCEEDED,
            f"This model's maximum context length is {self._context_length} tokens, but the"
            f" messages have {len(sequence.prompt)} tokens, which leaves no room for an answer."
            " Please shorten the messages.",
            param="messages",
        )

    def _ended(self, sequence: Sequence, end: Ending) -> Ended:
        self._poison.forget(_key(sequence))
        stepping = self._open is not None and any(
            part.sequence == sequence.id for part in self._open.sequences
        )
        if sequence.cached or stepping:
            self._forget.add(sequence.id)
        return Ended(sequence, end)

    def _close(self) -> Step:
        if self._open is None:
            msg = "a step was closed that is not open"
            raise SchedulerCorrupt(msg)
        step, self._open = self._open, None
        return step

    def _retry_after_s(self) -> float:
        # A second for each full set of slots that waits ahead.
        return min(30.0, max(1.0, self.waiting / self.limits.max_running))


def _key(sequence: Sequence) -> str:
    return str(sequence.id)
