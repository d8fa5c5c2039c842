"""POST /v1/chat/completions."""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime
from typing import final

import falcon
import msgspec

from cortex_actors.http.backend import Backend, Generation, GenerationEvent
from cortex_actors.http.chat_encoder import ChatEncoder
from cortex_actors.http.chat_request import ChatRequest
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.errors import ApiError
from cortex_actors.http.request_body import read_json
from cortex_actors.http.request_log import REQUEST_ID
from cortex_actors.http.sse import EventStream
from transports.clock import Clock, MonotonicClock
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

_POLL_S = 1.0


@final
class ChatCompletions:
    """Streamed or whole; a client that leaves cancels its generation either way."""

    def __init__(self, backend: Backend, body_limit: int, clock: Clock | None = None) -> None:
        self._backend = backend
        self._body_limit = body_limit
        self._clock = clock or MonotonicClock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve one chat completion."""
        chat = ChatRequest.parse(read_json(req, self._body_limit))
        # Clients and proxies repeat their own request id when they retry; ours must be unique.
        completion_id = f"{req.env[REQUEST_ID]}.{secrets.token_hex(4)}"
        encoder = ChatEncoder(
            completion_id,
            chat.model,
            int(datetime.now(tz=UTC).timestamp()),
            include_usage=chat.include_usage,
        )
        client = ClientConnection(req.env)
        generation = self._backend.generate(chat.to_generate(completion_id))
        if chat.stream:
            self._stream(req, resp, generation, encoder, client)
        else:
            self._whole(resp, generation, encoder, client)

    def _stream(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        generation: Generation,
        encoder: ChatEncoder,
        client: ClientConnection,
    ) -> None:
        stream = EventStream(generation, encoder, client, req.env[REQUEST_ID], self._clock)
        with contextlib.ExitStack() as refused:
            refused.callback(stream.close)
            stream.await_first()
            refused.pop_all()
        resp.content_type = "text/event-stream; charset=utf-8"
        resp.set_header("cache-control", "no-cache")
        resp.set_header("x-accel-buffering", "no")
        resp.stream = stream

    def _whole(
        self,
        resp: falcon.Response,
        generation: Generation,
        encoder: ChatEncoder,
        client: ClientConnection,
    ) -> None:
        try:
            completion = _Completion(encoder)
            while completion.body is None:
                client.wait_for(generation.fileno(), _POLL_S)
                for event in generation.take():
                    completion.feed(event)
        finally:
            generation.close()
        resp.content_type = falcon.MEDIA_JSON
        resp.data = completion.body


@final
class _Completion:
    """Gathers one generation's events into the whole object."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self._text: list[str] = []
        self.body: bytes | None = None

    def feed(self, event: GenerationEvent) -> None:
        """Take the next event.

        Raises:
            ApiError: The generation failed.
        """
        match event:
            case Failure():
                raise ApiError.from_failure(event)
            case TextDelta():
                self._text.append(event.text)
            case GenerateDone():
                whole = self._encoder.completion("".join(self._text), event)
                self.body = msgspec.json.encode(whole)
            case _:
                self._encoder.chunks(event)
