"""Queues of embeddings with one mistake each."""

from __future__ import annotations

from neuron_runtime.engine.embedding_queue import EmbeddingQueue, JobEnds, _Place
from transports.schemas.link import Failure


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
            self._turns.append(job)
        return ends


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
    EndsWhatHasNoMemory,
]
