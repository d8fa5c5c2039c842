"""Questions on their way to be jobs: their texts are turned into tokens here.

Tokens take time (0.1 s for some ten thousand), and the engine's thread has steps to send and pings
to answer. So a question with much text is taken a slice at a time, in turn with the others, and
steps, cancellations and small questions come in between. An input that is too long for a slice
cannot be divided, and becomes tokens on another thread. All else is the engine's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import final

from neuron_runtime.engine.embedding_admission import EmbeddingAdmission
from neuron_runtime.engine.embedding_job import EmbeddingJob
from neuron_runtime.engine.other_thread import OtherThread, Start, start_thread
from neuron_runtime.engine.refused import Refused
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.loop import Loop
from transports.schemas.generate import Embed
from transports.schemas.link import Failure

SLICE_CHARACTERS = 16_384

OnReady = Callable[[IncomingRequest, Embed, EmbeddingJob | Failure], None]


@dataclass(frozen=True, slots=True)
class _Slice:
    """Inputs from ``start`` to before ``stop``; ``size`` characters of text."""

    start: int
    stop: int
    size: int


@dataclass(slots=True, eq=False)
class Entry:
    """A question whose tokens are not all known."""

    request: IncomingRequest
    question: Embed
    slices: Iterator[_Slice]
    arrived: float
    inputs: list[tuple[int, ...]] = field(default_factory=list)


@final
class EmbeddingIntake:
    """Calls ``on_ready`` exactly once for each question: with its job, or why there is none."""

    def __init__(
        self,
        loop: Loop,
        admission: EmbeddingAdmission,
        on_ready: OnReady,
        start: Start = start_thread,
    ) -> None:
        self._loop = loop
        self._admission = admission
        self._on_ready = on_ready
        self._entries: deque[Entry] = deque()
        self._thread: OtherThread[list[tuple[int, ...]]] = OtherThread(
            loop, "input", "the input could not be tokenized", start
        )
        self._scheduled = False
        self._elsewhere = False

    @property
    def waiting(self) -> int:
        """How many questions are not ready."""
        return len(self._entries)

    @property
    def entries(self) -> list[tuple[str, Entry]]:
        """Whose they are, and which, in order of arrival."""
        entries = sorted(self._entries, key=lambda each: each.arrived)
        return [(each.question.principal, each) for each in entries]

    def take(self, request: IncomingRequest, question: Embed) -> None:
        """Begin with a question; a small one is ready at once."""
        try:
            self._admission.check(question)
        except Refused as refused:
            self._on_ready(request, question, refused.failure)
            return
        slices = list(_slices(question))
        entry = Entry(request, question, iter(slices), self._loop.now())
        self._entries.append(entry)
        if len(slices) == 1 and slices[0].size <= SLICE_CHARACTERS:
            self._work(entry)
        else:
            request.on_cancel(partial(self._cancel, entry))
            self._schedule()

    def end_all(self, failure: Failure) -> None:
        """Refuse all that is not ready."""
        for entry in list(self._entries):
            self.end(entry, failure)

    def _cancel(self, entry: Entry, reason: str) -> None:
        message = f"the request was cancelled ({reason or 'asked'})"
        self.end(entry, Failure(FailureCode.CANCELLED, message))

    def _schedule(self) -> None:
        if self._entries and not self._scheduled and not self._elsewhere:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._entries:
            self._entries.rotate(-1)
            self._work(self._entries[-1])
        self._schedule()

    def _work(self, entry: Entry) -> None:
        """Take the next slice of a question."""
        now, deadline = self._loop.now(), entry.request.deadline
        if deadline is not None and deadline <= now:
            message = "the request was not finished in time"
            self.end(entry, Failure(FailureCode.DEADLINE_EXCEEDED, message))
            return
        part = next(entry.slices)
        tokens = partial(self._admission.tokens, entry.question, part.start, part.stop)
        if part.size > SLICE_CHARACTERS:
            self._elsewhere = True
            request_id = entry.question.request_id
            self._thread.run(tokens, partial(self._back, entry, part), request_id)
            return
        try:
            found: list[tuple[int, ...]] | Failure = tokens()
        except Refused as refused:
            found = refused.failure
        self._tokenized(entry, part, found)

    def _back(self, entry: Entry, part: _Slice, found: list[tuple[int, ...]] | Failure) -> None:
        self._elsewhere = False
        if entry in self._entries:
            self._tokenized(entry, part, found)
        self._schedule()

    def _tokenized(
        self, entry: Entry, part: _Slice, found: list[tuple[int, ...]] | Failure
    ) -> None:
        if isinstance(found, Failure):
            self.end(entry, found)
            return
        entry.inputs += found
        question, deadline = entry.question, entry.request.deadline
        try:
            self._admission.check_total(sum(map(len, entry.inputs)))
        except Refused as refused:
            self.end(entry, refused.failure)
            return
        if part.stop == len(question.inputs):
            self.end(entry, self._admission.job(question, entry.inputs, entry.arrived, deadline))

    def end(self, entry: Entry, end: EmbeddingJob | Failure) -> None:
        """It is ready, or never will be; nothing if it has ended."""
        if entry in self._entries:
            self._entries.remove(entry)
            self._on_ready(entry.request, entry.question, end)


def _slices(question: Embed) -> Iterator[_Slice]:
    """Cut the inputs where enough text has come together; token ids cost nothing."""
    start = size = 0
    for number, each in enumerate(question.inputs):
        length = len(each) if isinstance(each, str) else 0
        if number > start and size + length > SLICE_CHARACTERS:
            yield _Slice(start, number, size)
            start, size = number, 0
        size += length
    yield _Slice(start, len(question.inputs), size)
