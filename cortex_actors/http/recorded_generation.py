"""A generation whose request's record follows it."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.dialects.events import GenerationEvent, Question
from cortex_actors.http.backend import Backend, Generation, GenerationTimes
from cortex_actors.http.request_record import RECORD, RequestRecord


@final
class RecordedGeneration:
    """A ``Generation`` that notes in ``record`` what is taken from another."""

    def __init__(self, generation: Generation, record: RequestRecord) -> None:
        self._generation = generation
        self._record = record

    @property
    def times(self) -> GenerationTimes:
        """See ``Generation``."""
        return self._generation.times

    def fileno(self) -> int:
        """See ``Generation``."""
        return self._generation.fileno()

    def take(self) -> tuple[GenerationEvent, ...]:
        """See ``Generation``."""
        events = self._generation.take()
        self._record.saw(events)
        return events

    def close(self) -> None:
        """See ``Generation``."""
        self._record.timed(self._generation.times)
        self._generation.close()


def begin(
    req: falcon.Request, backend: Backend, question: Question, *, streamed: bool = False
) -> RecordedGeneration:
    """Start the generation of one request.

    Raises:
        BackendError: OVERLOADED, at once, when every slot is taken.
    """
    record: RequestRecord = req.env[RECORD]
    record.asked(question)
    return RecordedGeneration(backend.generate(question, streamed=streamed), record)
