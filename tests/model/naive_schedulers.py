"""Schedulers with one mistake each, which the state machine must find."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from neuron_runtime.engine.events import Drawn, Ended, Events
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Ending, Sequence
from tests.model.naive_pools import NAIVE_POOLS, NAIVE_SEATS
from transports.schemas.group import SampledToken, Step
from transports.schemas.link import Failure


class LosesWhatRan(Scheduler):  # type: ignore[misc]
    """Starts the new epoch with what waited only."""

    def group_lost(self) -> Events:
        for each in list(self._seats.running.values()):
            self._seats.remove(each)
        return super().group_lost()


class ReplaysNothing(Scheduler):  # type: ignore[misc]
    """Goes on where it was, on ranks that know nothing."""

    def group_lost(self) -> Events:
        running = dict(self._seats.running)
        blocks = self._seats.blocks
        self._seats.running.clear()
        events = super().group_lost()
        self._seats.running.update(running)
        self._seats.blocks = blocks
        return events

    def group_ready(self) -> None:
        blocks, running = self._seats.blocks, dict(self._seats.running)
        self._seats.running.clear()
        super().group_ready()
        self._seats.running.update(running)
        self._seats.blocks = blocks


class RestartsFromThePrompt(Scheduler):  # type: ignore[misc]
    """Forgets what the client has seen already."""

    def group_lost(self) -> Events:
        for each in self._seats.running.values():
            each.output.clear()
        return super().group_lost()


class NeverPoisoned(Scheduler):  # type: ignore[misc]
    """Tries again for ever."""

    def group_lost(self) -> Events:
        for event in super().group_lost():
            self._alive[event.sequence.id] = event.sequence
            self._seats.queue.push_front(event.sequence)
        return ()


class KeepsCaches(Scheduler):  # type: ignore[misc]
    """Leaves the caches of what has ended on the ranks."""

    def next_step(self, now: float) -> Step | None:
        self._seats.forget.clear()
        return super().next_step(now)


class EndsTwice(Scheduler):  # type: ignore[misc]
    """Reports a cancellation whether or not the sequence has ended."""

    def __init__(self, limits: Limits, *more: Any) -> None:
        super().__init__(limits, *more)
        self._known: dict[int, Sequence] = {}

    def end(self, sequence: int, end: Ending) -> Events:
        self._known.update(self._alive)
        return super().end(sequence, end) or tuple(
            Ended(each, end) for each in [self._known.get(sequence)] if each
        )


class DrawsForTheDead(Scheduler):  # type: ignore[misc]
    """Reports what was drawn for a sequence that was cancelled meanwhile."""

    def __init__(self, limits: Limits, *more: Any) -> None:
        super().__init__(limits, *more)
        self._cancelled: list[Sequence] = []

    def step_done(
        self, tokens: Iterable[SampledToken], now: float, *, more: bool = False
    ) -> Events:
        drawn = {each.sequence: each for each in tokens}
        events = super().step_done(drawn.values(), now, more=more)
        late = [
            Drawn(s, len(s.output), drawn[s.id].token) for s in self._cancelled if s.id in drawn
        ]
        self._cancelled.clear()
        return (*events, *late)

    def end(self, sequence: int, end: Ending) -> Events:
        events = super().end(sequence, end)
        if self._open is not None:
            self._cancelled += [event.sequence for event in events]
        return events


class FailsTheWholeBatch(Scheduler):  # type: ignore[misc]
    """Ends the innocent with the culprit."""

    def step_failed(self, code: str, message: str) -> Events:
        batch = self.stepping()
        super().step_failed(code, message)
        return tuple(e for each in batch for e in self.end(each.id, Failure(code, message)))


class IgnoresDeadlines(Scheduler):  # type: ignore[misc]
    """Lets a client wait for ever."""

    def expire(self, now: float) -> Events:
        del now
        return ()


class RunsPastItsBlocks(Scheduler):  # type: ignore[misc]
    """Lets the ranks go on for as long as they may, whatever room there is."""

    def next_step(self, now: float) -> Step | None:
        step = super().next_step(now)
        if step is not None and step.rounds > 1:
            self._open = step = msgspec.structs.replace(step, rounds=self.limits.rounds)
        return step


class ForgetsTheRounds(Scheduler):  # type: ignore[misc]
    """Takes the first of several rounds for all of the step."""

    def step_done(
        self, tokens: Iterable[SampledToken], now: float, *, more: bool = False
    ) -> Events:
        del more
        return super().step_done(tokens, now)


class LetsNewcomersWait(Scheduler):  # type: ignore[misc]
    """Never ends the rounds of others for them."""

    @property
    def rounds_to_end(self) -> int | None:
        return None


class Unbounded(Scheduler):  # type: ignore[misc]
    """Accepts whatever comes."""

    def refusal(self, count: int = 1, principal: str = "") -> Failure | None:
        del count, principal
        return None


class LetsOneFillTheQueue(Scheduler):  # type: ignore[misc]
    """Refuses whoever comes when another has taken all places."""

    def _dropped_for(self, principal: str, count: int) -> list[Sequence]:
        del principal, count
        return []


class DropsWhatHasBegun(Scheduler):  # type: ignore[misc]
    """Takes places from those that have been served already."""

    def _dropped_for(self, principal: str, count: int) -> list[Sequence]:
        places = self._lacking(count)
        others = [each for each in self._alive.values() if not each.principal]
        return others[-places:] if principal and len(others) >= places else []


class ForgetsWhatHasBegun(Scheduler):  # type: ignore[misc]
    """Takes a request for untouched when those of its choices that have begun are over."""

    def _dropped_for(self, principal: str, count: int) -> list[Sequence]:
        requests = {each.request: each.request.begun for each in self._alive.values()}
        for each in requests:
            each.begun = False
        for sequence in self._alive.values():
            sequence.request.begun |= sequence.started is not None
        dropped = super()._dropped_for(principal, count)
        for each, begun in requests.items():
            each.begun = begun
        return dropped


class DropsWhoeverCameLast(Scheduler):  # type: ignore[misc]
    """Takes places from those that hold few as from those that hold many."""

    def _dropped_for(self, principal: str, count: int) -> list[Sequence]:
        waiting = [each for each in self._seats.queue if each.started is None]
        places = self._lacking(count)
        return waiting[-places:] if principal and len(waiting) >= places else []


class DropsForNothing(Scheduler):  # type: ignore[misc]
    """Takes places for a request that is too long anyway."""

    def _too_long(self, sequence: Sequence) -> Failure | None:
        return None if sequence.id not in self._alive else super()._too_long(sequence)

    def submit(self, *sequences: Sequence) -> Failure | None:
        refusals = map(super()._too_long, sequences)
        return next(filter(None, refusals), None) or super().submit(*sequences)


class PublishesTooEarly(Scheduler):  # type: ignore[misc]
    """Lets blocks be used again as soon as the step that fills them has left."""

    def next_step(self, now: float) -> Step | None:
        step = super().next_step(now)
        for part in step.sequences if step else ():
            sequence = self._seats.running[part.sequence]
            self._seats.fed(sequence, len(part.tokens))
            sequence.cached -= len(part.tokens)
        return step

    def step_failed(self, code: str, message: str) -> Events:
        forget_content = self._seats.blocks.forget_content
        self._seats.blocks.forget_content = lambda: None  # type: ignore[method-assign]
        events = super().step_failed(code, message)
        self._seats.blocks.forget_content = forget_content  # type: ignore[method-assign]
        return events


class KeepsThePoolOverEpochs(Scheduler):  # type: ignore[misc]
    """Believes that new ranks hold what the old ones held."""

    def group_lost(self) -> Events:
        self._kept = self._seats.blocks
        return super().group_lost()

    def group_ready(self) -> None:
        super().group_ready()
        self._seats.blocks = getattr(self, "_kept", self._seats.blocks)


def _with_seats(seats: type) -> type[Scheduler]:
    def init(self: Scheduler, limits: Limits, *more: Any) -> None:
        Scheduler.__init__(self, limits, *more)
        self._seats.__class__ = seats

    return type(seats.__name__, (Scheduler,), {"__init__": init})


def _with_pool(pool: type) -> type[Scheduler]:
    def make(self: Scheduler, blocks: int) -> object:
        return pool(blocks, self.limits.block_tokens)

    return type(pool.__name__, (Scheduler,), {"_pool": make})


NAIVE = (
    LosesWhatRan,
    ReplaysNothing,
    RestartsFromThePrompt,
    NeverPoisoned,
    KeepsCaches,
    EndsTwice,
    DrawsForTheDead,
    FailsTheWholeBatch,
    IgnoresDeadlines,
    RunsPastItsBlocks,
    ForgetsTheRounds,
    LetsNewcomersWait,
    Unbounded,
    LetsOneFillTheQueue,
    DropsWhatHasBegun,
    ForgetsWhatHasBegun,
    DropsWhoeverCameLast,
    DropsForNothing,
    PublishesTooEarly,
    KeepsThePoolOverEpochs,
    *map(_with_seats, NAIVE_SEATS),
    *map(_with_pool, NAIVE_POOLS),
)
