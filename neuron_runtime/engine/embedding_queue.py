"""Which inputs are embedded in the next step, and what each event means for their jobs. Pure.

Guarantees, checked by ``check_integrity`` and a state machine test:

- a job that ``submit`` accepted ends with exactly one ``JobDone`` or ``JobFailed``;
- each input is pending, in the open step, or has its vector: in exactly one of them;
- at most one step is open; what it brings for a job that has ended meanwhile is dropped;
- the number of jobs and of their tokens is bounded.

Principals take turns, and so do the jobs of each, one input at a time: a query is not kept waiting
by a million documents, and nobody by somebody else's many jobs. A step
keeps nothing on the ranks: when the group is lost, what was in it is simply pending again.

When a step of several jobs was the end of the group, or all ranks report the same error for it,
each of them is repeated alone: the one that fails alone is the culprit, the others go on
undisturbed. Without memory for a step, the ranks are given smaller ones first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar, final

from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.longest_line_drop import give_way
from neuron_runtime.engine.turns import Turns
from neuron_runtime.engine.vectors import BYTES_PER_VALUE
from neuron_runtime.poison import PoisonLedger
from transports.failures import FailureCode
from transports.schemas.group import EmbedStep
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """How many jobs are alive, in two parts as clients see them, and how large a step may be."""

    max_running: int = 8
    max_queued: int = 64
    alive_tokens: int = 1_000_000
    step_tokens: int = 2048
    step_sequences: int = 64


@dataclass(frozen=True, slots=True)
class JobDone:
    """The terminal event of a job whose vectors, ``dimensions`` long, are all there."""

    job: EmbeddingJob
    dimensions: int


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The terminal event of any other job."""

    job: EmbeddingJob
    failure: Failure


JobEnd = JobDone | JobFailed
JobEnds = tuple[JobEnd, ...]
_Place = tuple[int, int]
T = TypeVar("T")


class EmbeddingQueueCorrupt(AssertionError):
    """The queue's state contradicts itself; says how."""


@final
class EmbeddingQueue:
    """The jobs of one model. One thread; ``now`` is monotonic seconds throughout."""

    def __init__(self, limits: EmbeddingLimits) -> None:
        self.limits = limits
        self.draining = False
        self._jobs: dict[int, EmbeddingJob] = {}
        self._turns: Turns[int] = Turns()
        self._open: tuple[_Place, ...] | None = None
        self._fed = 0
        self._steps = 0
        self._tokens = 0
        self._most_tokens = limits.step_tokens
        self._ready = False
        self._poison = PoisonLedger()

    @property
    def running(self) -> int:
        """How many jobs have been in a step."""
        return sum(job.started for job in self._jobs.values())

    @property
    def waiting(self) -> int:
        """How many have not."""
        return len(self._jobs) - self.running

    @property
    def idle(self) -> bool:
        """Whether no job is alive."""
        return not self._jobs

    @property
    def in_step(self) -> tuple[int, ...]:
        """The jobs that the open step is for, if they are alive."""
        return tuple(each for each in _jobs_of(self._open or ()) if each in self._jobs)

    # -- jobs -----------------------------------------------------------------------------------

    def refusal(self, expected: int = 0) -> Failure | None:
        """Say why no job at all would be accepted now, beside those expected, or None."""
        if self.draining:
            return Failure(FailureCode.SHUTTING_DOWN, "the model is being unloaded; try again")
        return self._overload(expected)

    def giving_way(
        self, principal: str, elsewhere: Iterable[tuple[str, T]]
    ) -> list[EmbeddingJob | T]:
        """Return whose end makes room for a job of ``principal``; none if that is not enough.

        ``elsewhere`` are those that are no jobs yet, with their principals, in order of arrival.
        """
        jobs = self._jobs.values()
        places: list[tuple[str, EmbeddingJob | T | None]] = []
        places += [(job.principal, None if job.started else job) for job in jobs]
        places += elsewhere
        gone: list[EmbeddingJob | T] = []
        count, tokens = len(places), self._tokens
        losers: Iterable[EmbeddingJob | T] = give_way(principal, 1, places)
        for each in losers:
            gone.append(each)
            count -= 1
            tokens -= each.tokens if isinstance(each, EmbeddingJob) else 0
            if self._has_room(count, tokens):
                return gone
        return []

    def overloaded(self, expected: int, advice: str = "try again later") -> Failure:
        """Say that no more jobs are accepted beside those expected."""
        jobs = len(self._jobs) + expected
        return Failure(
            FailureCode.OVERLOADED,
            f"the model has {jobs} requests with {self._tokens} tokens to embed, which is its"
            f" limit; {advice}",
            retry_after_s=min(30.0, max(1.0, jobs / self.limits.max_running)),
        )

    def submit(self, job: EmbeddingJob) -> Failure | None:
        """Accept a job, also while draining, or say why not; a refused one gets no event."""
        refusal = self._overload(0)
        if refusal is None:
            self._jobs[job.id] = job
            self._turns.push(job.principal, job.id)
            self._tokens += job.tokens
        return refusal

    def end(self, job: int, failure: Failure) -> JobEnds:
        """End a job from outside; nothing if it has ended."""
        found = self._remove(job)
        return () if found is None else (JobFailed(found, failure),)

    def end_all(self, failure: Failure) -> JobEnds:
        """End every job."""
        return tuple(event for id_ in list(self._jobs) for event in self.end(id_, failure))

    def expire(self, now: float) -> JobEnds:
        """End the jobs whose deadline has passed."""
        late = [j for j in self._jobs.values() if j.deadline is not None and j.deadline <= now]
        failure = Failure(FailureCode.DEADLINE_EXCEEDED, "the request was not finished in time")
        return tuple(event for job in late for event in self.end(job.id, failure))

    def next_deadline(self) -> float | None:
        """Return when ``expire`` has something to do."""
        deadlines = (job.deadline for job in self._jobs.values() if job.deadline is not None)
        return min(deadlines, default=None)

    # -- the group ------------------------------------------------------------------------------

    def group_ready(self) -> None:
        """A new epoch has loaded."""
        self._most_tokens = self.limits.step_tokens
        self._ready = True

    def group_lost(self) -> JobEnds:
        """The epoch is gone. What was in its step is repeated, unless it has seen two deaths."""
        charged = self._reopen()
        for job in charged:
            job.alone = job.alone or len(charged) > 1
        self._ready = False
        poisonous = self._poison.group_died(str(job.id) for job in charged)
        failure = Failure(
            FailureCode.POISONED_REQUEST,
            "the model's workers died twice while this request ran; it will not be tried again",
        )
        return tuple(
            event
            for job in charged
            if str(job.id) in poisonous
            for event in self.end(job.id, failure)
        )

    # -- steps ----------------------------------------------------------------------------------

    def next_step(self) -> EmbedStep | None:
        """Open the next step; None if one is open, no group is ready, or nothing is pending."""
        if not self._ready or self._open is not None:
            return None
        places = self._pick()
        if not places:
            return None
        self._steps += 1
        self._open = tuple(places)
        sequences = tuple(self._jobs[job].inputs[index] for job, index in places)
        self._fed = sum(map(len, sequences))
        return EmbedStep(self._steps, sequences)

    def step_done(self, dimensions: int, rows: bytes) -> JobEnds:
        """Close the open step with rank 0's rows, one for each sequence."""
        places = self._close()
        width = BYTES_PER_VALUE * dimensions
        if not width or len(rows) != width * len(places):
            failure = Failure(FailureCode.INTERNAL, "the model's workers returned no vectors")
            return tuple(event for id_ in _jobs_of(places) for event in self.end(id_, failure))
        for number, (id_, index) in enumerate(places):
            job = self._jobs.get(id_)
            if job is not None:
                job.alone = False
                job.store(index, rows[number * width : (number + 1) * width])
        return tuple(
            event for id_ in _jobs_of(places) for event in self._end_if_done(id_, dimensions)
        )

    def step_failed(self, code: str, message: str) -> JobEnds:
        """Close the open step with an error that all ranks reported alike."""
        places = self._open or ()
        suspects = self._reopen()
        if code == FailureCode.OUT_OF_MEMORY and len(places) > 1:
            self._most_tokens = max(1, self._fed // 2)
            return ()
        if len(suspects) == 1:
            failure = Failure(code, f"the model could not process this request: {message}")
            return self.end(suspects[0].id, failure)
        for job in suspects:
            job.alone = True
        return ()

    def check_integrity(self) -> None:
        """Verify what must always hold; cheap enough for every event of a test.

        Raises:
            EmbeddingQueueCorrupt: It does not.
        """
        opened = [place for place in self._open or () if place[0] in self._jobs]
        for id_, job in self._jobs.items():
            places = [*job.pending, *job.rows, *(index for each, index in opened if each == id_)]
            if sorted(places) != list(range(len(job.inputs))):
                raise EmbeddingQueueCorrupt(f"an input of job {id_} is not in exactly one place")
            if (id_ in self._turns) != bool(job.pending):
                raise EmbeddingQueueCorrupt(f"job {id_} has no turn, or has nothing to do in it")
        faults = {
            "a job has two turns": len(self._turns) != len(set(self._turns)),
            "a job that has ended has a turn": not set(self._turns) <= set(self._jobs),
            "a step is open without a group": not self._ready and self._open is not None,
            "the tokens are miscounted": self._tokens != sum(j.tokens for j in self._jobs.values()),
            "the poison ledger has outlived its requests": len(self._poison) > len(self._jobs),
        }
        wrong = [fault for fault, found in faults.items() if found]
        if wrong:
            raise EmbeddingQueueCorrupt("; ".join(wrong))

    # -- inside ---------------------------------------------------------------------------------

    def _overload(self, expected: int) -> Failure | None:
        if self._has_room(len(self._jobs) + expected, self._tokens):
            return None
        return self.overloaded(expected)

    def _has_room(self, jobs: int, tokens: int) -> bool:
        """Whether one more is accepted beside so many."""
        most = self.limits.max_running + self.limits.max_queued
        return jobs < most and tokens < self.limits.alive_tokens

    def _pick(self) -> list[_Place]:
        """Take pending inputs, job by job in turn, until the step is full."""
        alone = next((id_ for id_ in self._turns if self._jobs[id_].alone), None)
        places: list[_Place] = []
        tokens = 0
        while len(places) < self.limits.step_sequences:
            turn = self._turns.head() if alone is None else alone
            job = None if turn is None else self._jobs[turn]
            if job is None or not job.pending:
                break
            size = len(job.inputs[job.pending[0]])
            if places and tokens + size > self._most_tokens:
                break
            tokens += size
            places.append((job.id, job.pending.popleft()))
            job.started = True
            self._turns.take(job.principal, job.id)
            if job.pending:
                self._turns.push(job.principal, job.id)
        return places

    def _reopen(self) -> list[EmbeddingJob]:
        """Make what is in the open step pending again; return the living jobs that were in it."""
        places, self._open = self._open or (), None
        for id_, index in reversed(places):
            job = self._jobs.get(id_)
            if job is None:
                continue
            if not job.pending:
                self._turns.push_front(job.principal, id_)
            job.pending.appendleft(index)
        return [self._jobs[id_] for id_ in _jobs_of(places) if id_ in self._jobs]

    def _end_if_done(self, id_: int, dimensions: int) -> JobEnds:
        job = self._jobs.get(id_)
        if job is None:
            return ()
        if job.dimensions is not None and job.dimensions > dimensions:
            message = f"dimensions: the model's vectors have only {dimensions}"
            return self.end(id_, Failure(FailureCode.INVALID_REQUEST, message, param="dimensions"))
        if not job.finished:
            return ()
        self._remove(id_)
        return (JobDone(job, job.dimensions or dimensions),)

    def _remove(self, id_: int) -> EmbeddingJob | None:
        job = self._jobs.pop(id_, None)
        if job is not None:
            self._tokens -= job.tokens
            self._poison.forget(str(id_))
            if job.pending:
                self._turns.remove(job.principal, id_)
        return job

    def _close(self) -> tuple[_Place, ...]:
        if self._open is None:
            raise EmbeddingQueueCorrupt("a step was closed that is not open")
        places, self._open = self._open, None
        return places


def _jobs_of(places: tuple[_Place, ...]) -> list[int]:
    return list(dict.fromkeys(id_ for id_, _ in places))
