"""The objects that tell operators what goes on inside: actors, and what became of a request."""

from __future__ import annotations

from cortex_actors.dialects.answer_object import AnswerObject


class Actor(AnswerObject):
    """One actor: messages that wait for it, and those that it has handled."""

    name: str
    kind: str
    state: str
    restarts: int
    mailbox: int
    handled: int
    detail: str


class ActorList(AnswerObject):
    """Every live actor of a daemon."""

    actors: list[Actor]


class RequestStep(AnswerObject):
    """One thing that happened to a request, ``at_s`` after it came."""

    at_s: float
    event: str
    neuron: str
    detail: str


class ReadingGaps(AnswerObject):
    """How long a reader waited between pieces of the text: how often, by class; and in all."""

    counts: list[int]
    total_s: float


class RequestFigures(AnswerObject):
    """How the last lease of a request ended; ``last`` is whether the request ended with it.

    Times are in seconds: ``lease_s`` until it had its engine, ``cancel_s`` from its client's
    leaving until the engine had let go of it, ``retry_after_s`` for how long an engine that was
    full wants to be left alone.
    """

    lease: int
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    first_token_s: float
    duration_s: float
    lease_s: float
    queue_s: float
    prefill_s: float
    decode_s: float
    cached_tokens: int
    reasoning_tokens: int
    cancel_s: float
    last: bool
    gaps: ReadingGaps | None
    retry_after_s: float


class RequestPhases(AnswerObject):
    """Where a request's time went, in seconds; together they are all of it."""

    lease: float
    load: float
    queue: float
    prefill: float
    decode: float
    write: float


class RequestTrail(AnswerObject):
    """What became of a request; its figures are null until its last lease has ended.

    ``load_s`` is how much of its lease was the load of its model.
    """

    request_id: str
    model: str
    steps: list[RequestStep]
    load_s: float
    settled: RequestFigures | None
    phases: RequestPhases | None
