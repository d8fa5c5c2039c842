"""POST of a request for generated text, in any API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import falcon

from cortex_actors.dialects.request import GenerationRequest
from cortex_actors.http.backend import Backend
from cortex_actors.http.ignored_fields import tell_ignored
from cortex_actors.http.recorded_generation import begin
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.generated_response import created_now, stream, unique_id, whole
from transports.clock import Clock, MonotonicClock

Parse = Callable[[dict[str, Any]], GenerationRequest]


@final
class Generations:
    """Streamed or whole; a client that leaves cancels its generation either way."""

    def __init__(
        self, backend: Backend, parse: Parse, body_limit: int, clock: Clock | None = None
    ) -> None:
        self._backend = backend
        self._parse = parse
        self._body_limit = body_limit
        self._clock = clock or MonotonicClock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve one request."""
        asked = self._parse(read_json(req, self._body_limit))
        tell_ignored(resp, asked)
        id_ = unique_id(req)
        encoder = asked.encoder(id_, created_now())
        generation = begin(
            req,
            self._backend,
            asked.to_generate(id_),
            param_of=asked.param_of,
            streamed=asked.streamed,
        )
        if asked.streamed:
            stream(req, resp, generation, encoder, self._clock)
        else:
            whole(req, resp, generation, encoder)
