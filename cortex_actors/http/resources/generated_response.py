"""Serving a generation: as a stream or as a whole, whatever the API."""

from __future__ import annotations

import contextlib
import random
from datetime import UTC, datetime
from typing import TypeVar

import falcon
import msgspec

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.encoder import GenerationEncoder
from cortex_actors.dialects.events import Counted, Embedded, Started
from cortex_actors.http.backend import Generation
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.request_log import REQUEST_ID
from cortex_actors.http.sse import EventStream
from transports.clock import Clock
from transports.schemas.link import Failure

_POLL_S = 1.0

T = TypeVar("T", bound=Embedded | Counted)


def unique_id(req: falcon.Request) -> str:
    """Return an id for one generation.

    Clients and proxies repeat their own request id when they retry; ours must be unique.
    """
    return f"{req.env[REQUEST_ID]}.{random.getrandbits(32):08x}"


def single_answer(req: falcon.Request, generation: Generation, kind: type[T]) -> tuple[T, str]:
    """Wait for the one answer of a question without text; return it with the concrete model's id.

    Raises:
        ApiError: The question failed.
        ClientGoneError: The client left.
    """
    client, model = ClientConnection(req.env), ""
    try:
        while True:
            client.wait_for(generation.fileno(), _POLL_S)
            for event in generation.take():
                if isinstance(event, kind):
                    return event, model
                match event:
                    case Started():
                        model = event.model
                    case Failure():
                        raise ApiError.from_failure(event)
                    case _:
                        pass
    finally:
        generation.close()


def created_now() -> int:
    """Return the time of day as OpenAI's objects have it."""
    return int(datetime.now(tz=UTC).timestamp())


def stream(
    req: falcon.Request,
    resp: falcon.Response,
    generation: Generation,
    encoder: GenerationEncoder,
    clock: Clock,
) -> None:
    """Answer with server-sent events.

    Raises:
        ApiError: The generation failed before it produced anything.
        ClientGoneError: The client left.
    """
    events = EventStream(generation, encoder, ClientConnection(req.env), req.env[REQUEST_ID], clock)
    with contextlib.ExitStack() as refused:
        refused.callback(events.close)
        events.await_first()
        refused.pop_all()
    resp.content_type = "text/event-stream; charset=utf-8"
    resp.set_header("cache-control", "no-cache")
    resp.set_header("x-accel-buffering", "no")
    resp.stream = events


def whole(
    req: falcon.Request,
    resp: falcon.Response,
    generation: Generation,
    encoder: GenerationEncoder,
) -> None:
    """Answer with one object.

    Raises:
        ApiError: The generation failed.
        ClientGoneError: The client left.
    """
    client = ClientConnection(req.env)
    body: bytes | None = None
    try:
        while body is None:
            client.wait_for(generation.fileno(), _POLL_S)
            for event in generation.take():
                if isinstance(event, Failure):
                    raise ApiError.from_failure(event)
                gathered = encoder.gather(event)
                if gathered is not None:
                    body = msgspec.json.encode(gathered)
    finally:
        generation.close()
    resp.content_type = falcon.MEDIA_JSON
    resp.data = body
