"""Queues of embeddings with one mistake each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.embedding_queue import (
    EmbeddingLimits,
    EmbeddingQueue,
    JobEnds,
    _Place,
)
from neuron_runtime.engine.turns import Turns
from transports.schemas.link import Failure

T = TypeVar("T")


class ForgetsTheStepOfADeadGroup(EmbeddingQueue):  # type: ignore[misc]
    """What was in the step is neither repeated nor ended."""

    def group_lost(self) -> JobEnds:
        self._open, self._ready = None, False
        return ()


class NeverCallsAnythingPoisonous(EmbeddingQueue):  # type: ignore[misc]
    """Repeats for ever."""

    def group_lost(self) -> JobEnds:
        self._reopen()
        self._ready = False
        return ()


class ChargesEveryJob(EmbeddingQueue):  # type: ignore[misc]
    """Blames those that only waited."""

    def group_lost(self) -> JobEnds:
        self._reopen()
        self._ready = False
        poisonous = self._poison.group_died(map(str, self._jobs))
        gone = Failure("poisoned_request", "twice")
        return tuple(end for id_ in poisonous for end in self.end(int(id_), gone))


class EndsTheWholeStep(EmbeddingQueue):  # type: ignore[misc]
    """Lets the innocent share a culprit's error."""

    def step_failed(self, code: str, message: str) -> JobEnds:
        suspects = self._reopen()
        return tuple(end for job in suspects for end in self.end(job.id, Failure(code, message)))


class ForgetsWhoWasSuspected(EmbeddingQueue):  # type: ignore[misc]
    """Repeats the same step."""

    def step_failed(self, code: str, message: str) -> JobEnds:
        ends = super().step_failed(code, message)
        for job in self._jobs.values():
            job.alone = False
        return ends


class MixesRowsUp(EmbeddingQueue):  # type: ignore[misc]
    """Takes the rows in another order than the sequences."""

    def _close(self) -> tuple[_Place, ...]:
        return super()._close()[::-1]


class IgnoresTheBudget(EmbeddingQueue):  # type: ignore[misc]
    """Puts everything into one step."""

    def _pick(self) -> list[_Place]:
        places: list[_Place] = []
        while self._turns:
            places += super()._pick()
        return places


class KeepsTheTurnOfTheDead(EmbeddingQueue):  # type: ignore[misc]
    """A cancelled job is asked for its next input."""

    def end(self, job: int, failure: Failure) -> JobEnds:
        had_turn = job in self._turns
        ends = super().end(job, failure)
        if had_turn:
            self._turns.push("", job)
        return ends


class LetsOneFillTheQueue(EmbeddingQueue):  # type: ignore[misc]
    """Whoever comes first keeps all places."""

    def giving_way(
        self, principal: str, elsewhere: Iterable[tuple[str, T]]
    ) -> list[EmbeddingJob | T]:
        del principal, elsewhere
        return []


class DropsWhatHasBegun(EmbeddingQueue):  # type: ignore[misc]
    """What is half embedded gives way too."""

    def giving_way(
        self, principal: str, elsewhere: Iterable[tuple[str, T]]
    ) -> list[EmbeddingJob | T]:
        begun = [job for job in self._jobs.values() if job.started]
        for job in begun:
            job.started = False
        gone = super().giving_way(principal, elsewhere)
        for job in begun:
            job.started = True
        return gone


class DropsForNothing(EmbeddingQueue):  # type: ignore[misc]
    """One gives way, whether or not that is enough."""

    def _has_room(self, jobs: int, tokens: int) -> bool:
        return jobs < len(self._jobs) or super()._has_room(jobs, tokens)


class _OneLine(Turns[int]):  # type: ignore[misc]
    def push(self, principal: str, each: int) -> None:
        super().push("all", each)

    def push_front(self, principal: str, each: int) -> None:
        super().push_front("all", each)

    def take(self, principal: str, each: int) -> None:
        super().take("all", each)

    def remove(self, principal: str, each: int) -> None:
        super().remove("all", each)


class ForgetsPrincipals(EmbeddingQueue):  # type: ignore[misc]
    """All jobs take turns, whoever has most of them."""

    def __init__(self, limits: EmbeddingLimits) -> None:
        super().__init__(limits)
        self._turns = _OneLine()


class EndsWhatHasNoMemory(EmbeddingQueue):  # type: ignore[misc]
    """Tries nothing smaller."""

    def step_failed(self, code: str, message: str) -> JobEnds:
        return super().step_failed("step_failed", message)


NAIVE: list[type[EmbeddingQueue]] = [
    ForgetsTheStepOfADeadGroup,
    NeverCallsAnythingPoisonous,
    ChargesEveryJob,
    EndsTheWholeStep,
    ForgetsWhoWasSuspected,
    MixesRowsUp,
    IgnoresTheBudget,
    KeepsTheTurnOfTheDead,
    LetsOneFillTheQueue,
    DropsWhatHasBegun,
    DropsForNothing,
    ForgetsPrincipals,
    EndsWhatHasNoMemory,
]
