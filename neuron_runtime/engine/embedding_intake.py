"""Questions on their way to be jobs: their texts are turned into tokens here.

Tokens take time (0.1 s for some ten thousand), and the engine has one thread. So a question with
much text is taken a slice at a time, in turn with the others, and steps, cancellations and small
questions come in between. Engine's thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import final

from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.refused import Refused
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.loop import Loop
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

SLICE_CHARACTERS = 16_384

OnReady = Callable[[IncomingRequest, Embed, EmbeddingJob | Failure], None]


@dataclass(slots=True, eq=False)
class _Entry:
    request: IncomingRequest
    question: Embed
    slices: Iterator[tuple[int, int]]
    arrived: float
    inputs: list[tuple[int, ...]] = field(default_factory=list)


@final
class EmbeddingIntake:
    """Calls ``on_ready`` exactly once for each question: with its job, or why there is none."""

    def __init__(self, loop: Loop, admission: EmbeddingAdmission, on_ready: OnReady) -> None:
        self._loop = loop
        self._admission = admission
        self._on_ready = on_ready
        self._entries: deque[_Entry] = deque()
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """How many questions are not ready."""
        return len(self._entries)

    def take(self, request: IncomingRequest, question: Embed) -> None:
        """Begin with a question; a small one is ready at once."""
        try:
            self._admission.check(question)
        except Refused as refused:
            self._on_ready(request, question, refused.failure)
            return
        slices = list(_slices(question))
        entry = _Entry(request, question, iter(slices), self._loop.now())
        self._entries.append(entry)
        if len(slices) == 1:
            self._work(entry)
        else:
            request.on_cancel(partial(self._cancel, entry))
            self._schedule()

    def end_all(self, failure: Failure) -> None:
        """Refuse all that is not ready."""
        for entry in list(self._entries):
            self._end(entry, failure)

    def _cancel(self, entry: _Entry, reason: str) -> None:
        message = f"the request was cancelled ({reason or 'asked'})"
        self._end(entry, Failure(FailureCode.CANCELLED, message))

    def _schedule(self) -> None:
        if self._entries and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._entries:
            self._entries.rotate(-1)
            self._work(self._entries[-1])
        self._schedule()

    def _work(self, entry: _Entry) -> None:
        """Take the next slice of a question."""
        now, deadline = self._loop.now(), entry.request.deadline
        if deadline is not None and deadline <= now:
            message = "the request was not finished in time"
            self._end(entry, Failure(FailureCode.DEADLINE_EXCEEDED, message))
            return
        try:
            start, stop = next(entry.slices)
            entry.inputs += self._admission.tokens(entry.question, start, stop)
            self._admission.check_total(sum(map(len, entry.inputs)))
            if stop == len(entry.question.inputs):
                job = self._admission.job(entry.question, entry.inputs, entry.arrived, deadline)
                self._end(entry, job)
        except Refused as refused:
            self._end(entry, refused.failure)

    def _end(self, entry: _Entry, end: EmbeddingJob | Failure) -> None:
        if entry in self._entries:
            self._entries.remove(entry)
            self._on_ready(entry.request, entry.question, end)


def _slices(question: Embed) -> Iterator[tuple[int, int]]:
    """Cut the inputs where enough text has come together; token ids cost nothing."""
    start = size = 0
    for number, each in enumerate(question.inputs):
        length = len(each) if isinstance(each, str) else 0
        if number > start and size + length > SLICE_CHARACTERS:
            yield start, number
            start, size = number, 0
        size += length
    yield start, len(question.inputs)
