"""What one request came to, gathered while it is served."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

import falcon

from cortex_actors.dialects.events import (
    Counted,
    Embedded,
    GenerationEvent,
    Question,
    Started,
    figures_of,
)
from cortex_actors.http.backend import GenerationTimes
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure, GenerationFigures

RECORD: Final = "cortex.request_record"
"""Key of the request's record in the WSGI environ."""

CLIENT_GONE: Final = "client_gone"
"""The code of a request whose client did not stay for the end."""


@final
@dataclass(slots=True)
class RequestRecord:
    """For the one thread that serves the request.

    ``route`` is the path's template, empty if there is none. ``principal`` is whose key it carries,
    empty if nobody's. ``model`` is the concrete one behind ``asked_model``. ``finish`` is why
    the text ended, ``error`` the code of what the client was told instead. Tokens are the engine's
    count, or those that the client got if it left. Times are in seconds; ``first_token_s`` is from
    the start, and ``loaded`` says that the lease had to wait for the model's load.
    """

    request_id: str
    route: str = ""
    principal: str = ""
    asked_model: str = ""
    model: str = ""
    neuron: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    lease_s: float = 0.0
    loaded: bool = False
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float = 0.0
    finish: str = ""
    error: str = ""
    _open: bool = False

    def asked(self, question: Question) -> None:
        """An engine is asked."""
        self.asked_model = question.model
        self._open = True

    def saw(self, events: Iterable[GenerationEvent]) -> None:
        """Take in what the engine has answered."""
        for event in events:
            match event:
                case TextDelta():
                    self._told(event)
                case Started():
                    self.model, self.neuron = event.model, event.neuron
                case GenerateDone():
                    self._ended(event)
                case Embedded() | Counted():
                    self.prompt_tokens = event.prompt_tokens
                    self._open = False
                case Failure():
                    if event.figures is not None:
                        self._came_to(event.figures)
                    self.failed(event.code)
                case _:
                    pass

    def timed(self, times: GenerationTimes) -> None:
        """Take in when the generation got how far."""
        self.lease_s, self.loaded = times.lease_s, times.loaded
        self.first_token_s = times.first_token_s
        if not self.finish and not self.decode_s:
            self.decode_s = times.decode_s

    def failed(self, code: str) -> None:
        """The client is told of an error."""
        self.error = code
        self._open = False

    def closed(self) -> None:
        """Nothing more is served; a text that has not ended by now lost its client."""
        if self._open:
            self.failed(CLIENT_GONE)

    def _told(self, delta: TextDelta) -> None:
        self.completion_tokens = (self.completion_tokens or 0) + len(delta.tokens)
        if delta.reasoning_tokens:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + delta.reasoning_tokens
        if delta.prompt_tokens:
            self.prompt_tokens, self.cached_tokens = delta.prompt_tokens, delta.cached_tokens
            self.queue_s, self.prefill_s = delta.queue_s, delta.prefill_s

    def _ended(self, done: GenerateDone) -> None:
        self.finish = done.finish_reason
        self._came_to(figures_of(done))
        self._open = False

    def _came_to(self, figures: GenerationFigures) -> None:
        self.prompt_tokens, self.cached_tokens = figures.prompt_tokens, figures.cached_tokens
        self.completion_tokens = figures.completion_tokens
        self.reasoning_tokens = figures.reasoning_tokens or None
        self.queue_s, self.prefill_s = figures.queue_s, figures.prefill_s
        self.decode_s = figures.decode_s


def principal_of(req: falcon.Request) -> str:
    """Return whose key a request carries; empty if nobody's."""
    record: RequestRecord = req.env[RECORD]
    return record.principal
