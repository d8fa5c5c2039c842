"""POST /v1/completions."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.http.backend import Backend
from cortex_actors.http.completion_encoder import CompletionEncoder
from cortex_actors.http.completion_request import CompletionRequest
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.generated_response import created_now, stream, unique_id, whole
from transports.clock import Clock, MonotonicClock


@final
class Completions:
    """Streamed or whole; a client that leaves cancels its generation either way."""

    def __init__(self, backend: Backend, body_limit: int, clock: Clock | None = None) -> None:
        self._backend = backend
        self._body_limit = body_limit
        self._clock = clock or MonotonicClock()

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve one text completion."""
        asked = CompletionRequest.parse(read_json(req, self._body_limit))
        id_ = unique_id(req)
        encoder = CompletionEncoder(
            id_,
            asked.model,
            created_now(),
            include_usage=asked.include_usage,
            choices=asked.choices,
        )
        generation = self._backend.generate(asked.to_generate(id_))
        if asked.stream:
            stream(req, resp, generation, encoder, self._clock)
        else:
            whole(req, resp, generation, encoder)
