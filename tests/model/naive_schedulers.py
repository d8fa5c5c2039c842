"""Schedulers with one mistake each, which the state machine must find."""

from __future__ import annotations

from collections.abc import Iterable

from neuron_runtime.engine.scheduler import Drawn, Ended, Events, Limits, Scheduler
from neuron_runtime.engine.sequence import Ending, Sequence
from transports.schemas.group import SampledToken, Step
from transports.schemas.link import Failure


class LosesWhatRan(Scheduler):  # type: ignore[misc]
    """Starts the new epoch with what waited only."""

    def group_lost(self) -> Events:
        self._running.clear()
        return super().group_lost()


class ReplaysNothing(Scheduler):  # type: ignore[misc]
    """Goes on where it was, on ranks that know nothing."""

    def group_lost(self) -> Events:
        cached = {each.id: each.cached for each in self._running.values()}
        events = super().group_lost()
        for each in self._queue:
            each.cached = cached.get(each.id, each.cached)
        return events


class RestartsFromThePrompt(Scheduler):  # type: ignore[misc]
    """Forgets what the client has seen already."""

    def group_lost(self) -> Events:
        for each in self._running.values():
            each.output.clear()
        return super().group_lost()


class NeverPoisoned(Scheduler):  # type: ignore[misc]
    """Tries again for ever."""

    def group_lost(self) -> Events:
        events = super().group_lost()
        for event in events:
            self._queue.appendleft(event.sequence)
        return ()


class KeepsCaches(Scheduler):  # type: ignore[misc]
    """Leaves the caches of what has ended on the ranks."""

    def next_step(self, now: float) -> Step | None:
        self._forget.clear()
        return super().next_step(now)


class EndsTwice(Scheduler):  # type: ignore[misc]
    """Reports a cancellation whether or not the sequence has ended."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._known: dict[int, Sequence] = {}

    def end(self, sequence: int, end: Ending) -> Events:
        self._known.update((each.id, each) for each in self._alive())
        return super().end(sequence, end) or tuple(
            Ended(each, end) for each in [self._known.get(sequence)] if each
        )


class DrawsForTheDead(Scheduler):  # type: ignore[misc]
    """Reports what was drawn for a sequence that was cancelled meanwhile."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._cancelled: list[Sequence] = []

    def step_done(self, tokens: Iterable[SampledToken], now: float) -> Events:
        drawn = {each.sequence: each.token for each in tokens}
        events = super().step_done([SampledToken(*each) for each in drawn.items()], now)
        late = [Drawn(s, len(s.output), drawn[s.id]) for s in self._cancelled if s.id in drawn]
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
        batch = self._stepping()
        super().step_failed(code, message)
        return tuple(e for each in batch for e in self.end(each.id, Failure(code, message)))


class IgnoresDeadlines(Scheduler):  # type: ignore[misc]
    """Lets a client wait for ever."""

    def expire(self, now: float) -> Events:
        del now
        return ()


class Unbounded(Scheduler):  # type: ignore[misc]
    """Accepts whatever comes."""

    def refusal(self) -> Failure | None:
        return None


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
    Unbounded,
)
