"""A generation as server-sent events."""

from __future__ import annotations

from typing import Any, Final, Self, final

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import GenerationEvent, Started
from cortex_actors.dialects.framing import COMMENT
from cortex_actors.http.backend import Generation
from cortex_actors.http.client_connection import ClientConnection
from transports.clock import Clock
from transports.schemas.generate import GenerateDone
from transports.schemas.link import Failure
from transports.text_run import join_runs

KEEP_ALIVE_S: Final = 1.0
"""How long a stream may be silent before it carries a comment."""


@final
class EventStream:
    """A WSGI body; each piece holds everything that was ready. For the request's thread only.

    A failed generation ends with the API's error, never as a good one does. Closing the stream
    closes the generation, also when not one piece was read.
    """

    def __init__(
        self,
        generation: Generation,
        encoder: GenerationEncoder,
        client: ClientConnection,
        request_id: str,
        clock: Clock,
    ) -> None:
        self._generation = generation
        self._encoder = encoder
        self._client = client
        self._request_id = request_id
        self._clock = clock
        self._ready: tuple[GenerationEvent, ...] = ()
        self._ended = False
        self._closed = False
        self._written_at = clock.now()

    def await_first(self, patience_s: float = KEEP_ALIVE_S) -> None:
        """Wait for something to stream, so that a refusal still gets a status of its own.

        Returns after ``patience_s`` at the latest: a silent connection looks dead to its client.

        Raises:
            ApiError: The generation failed before it produced anything.
            ClientGoneError: The client left.
        """
        until = self._clock.now() + patience_s
        while all(isinstance(event, Started) for event in self._ready):
            left_s = until - self._clock.now()
            if left_s <= 0:
                return
            self._client.wait_for(self._generation.fileno(), left_s)
            self._ready += self._generation.take()
        for event in self._ready:
            if isinstance(event, Failure):
                raise ApiError.from_failure(event)
            if not isinstance(event, Started):
                return

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Return the next piece, which may be a keep-alive comment.

        Raises:
            ClientGoneError: The client left, or reads nothing.
        """
        if self._closed:
            raise StopIteration
        piece = self._next_piece()
        self._client.wait_writable()
        self._written_at = self._clock.now()
        if self._ended:
            self.close()
        return piece

    @property
    def is_over(self) -> bool:
        """Whether the latest piece was the last."""
        return self._closed

    def close(self) -> None:
        """Cancel what still runs; idempotent."""
        self._closed = True
        self._generation.close()

    def _next_piece(self) -> bytes:
        while True:
            events, self._ready = self._ready or self._generation.take(), ()
            piece = b"".join(map(self._encode, join_runs(events)))
            if piece:
                return piece
            silence_left_s = self._written_at + KEEP_ALIVE_S - self._clock.now()
            if silence_left_s <= 0:
                return self._frames(self._encoder.keep_alive()) or COMMENT
            self._client.wait_for(self._generation.fileno(), silence_left_s)

    def _encode(self, event: GenerationEvent) -> bytes:
        if isinstance(event, Failure):
            self._ended = True
            error = ApiError.from_failure(event)
            return self._frames(self._encoder.failed(error, self._request_id))
        piece = self._frames(self._encoder.chunks(event))
        if isinstance(event, GenerateDone):
            self._ended = True
            return piece + self._encoder.framing.end
        return piece

    def _frames(self, chunks: list[dict[str, Any]]) -> bytes:
        return b"".join(map(self._encoder.framing.frame, chunks))
