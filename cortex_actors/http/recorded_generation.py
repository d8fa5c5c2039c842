"""A generation whose request's record follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import falcon
import msgspec

from cortex_actors.dialects.events import GenerationEvent, Question
from cortex_actors.http.backend import Backend, Generation, GenerationTimes
from cortex_actors.http.request_record import RECORD, RequestRecord
from transports.schemas.generate import CountTokens
from transports.schemas.link import Failure

ParamOf = Callable[[str], str]


@final
class RecordedGeneration:
    """A ``Generation`` that notes in ``record`` what is taken from another.

    Failures name the request's fields as its own API does, by ``param_of``.
    """

    def __init__(
        self, generation: Generation, record: RequestRecord, param_of: ParamOf | None = None
    ) -> None:
        self._generation = generation
        self._record = record
        self._param_of = param_of

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
        if events and self._param_of is not None and isinstance(events[-1], Failure):
            return (*events[:-1], renamed(events[-1], self._param_of))
        return events

    def close(self) -> None:
        """See ``Generation``."""
        self._record.timed(self._generation.times)
        self._generation.close()


def renamed(failure: Failure, param_of: ParamOf) -> Failure:
    """Return the failure with its field, also where its message begins with it, as clients know it.

    Engines name fields as ``Generate`` has them.
    """
    if not failure.param or (param := param_of(failure.param)) == failure.param:
        return failure
    message, prefix = failure.message, f"{failure.param}: "
    if message.startswith(prefix):
        message = f"{param}: {message.removeprefix(prefix)}"
    return msgspec.structs.replace(failure, param=param, message=message)


def begin(
    req: falcon.Request,
    backend: Backend,
    question: Question,
    *,
    param_of: ParamOf | None = None,
    streamed: bool = False,
) -> RecordedGeneration:
    """Start the generation of one request, in the name of whose key it carries.

    Raises:
        BackendError: OVERLOADED, at once, when every slot is taken.
    """
    record: RequestRecord = req.env[RECORD]
    record.asked(question)
    asked = _in_the_name_of(record.principal, question)
    return RecordedGeneration(backend.generate(asked, streamed=streamed), record, param_of)


def _in_the_name_of(principal: str, question: Question) -> Question:
    """Return the question as this principal's."""
    if not principal:
        return question
    if isinstance(question, CountTokens):
        counted = msgspec.structs.replace(question.question, principal=principal)
        return msgspec.structs.replace(question, question=counted)
    return msgspec.structs.replace(question, principal=principal)
