"""POST /v1/embeddings."""

from __future__ import annotations

import secrets
from typing import final

import falcon
import msgspec

from cortex_actors.dialects.api_error import ApiError
from cortex_actors.dialects.events import Embedded, Started
from cortex_actors.dialects.openai.embedding_encoder import embedding_list
from cortex_actors.dialects.openai.embedding_request import EmbeddingRequest
from cortex_actors.http.backend import Backend, Generation
from cortex_actors.http.client_connection import ClientConnection
from cortex_actors.http.request_body import read_json
from cortex_actors.http.request_log import REQUEST_ID
from transports.schemas.link import Failure

_POLL_S = 1.0


@final
class Embeddings:
    """All vectors in one object; a client that leaves cancels the question."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve the embeddings of one request's inputs."""
        asked = EmbeddingRequest.parse(read_json(req, self._body_limit))
        # Clients and proxies repeat their own request id when they retry; ours must be unique.
        request_id = f"{req.env[REQUEST_ID]}.{secrets.token_hex(4)}"
        client = ClientConnection(req.env)
        generation = self._backend.generate(asked.to_embed(request_id))
        try:
            embedded, model = _await(generation, client)
        finally:
            generation.close()
        whole = embedding_list(
            embedded, model or asked.model, as_base64=asked.encoding_format == "base64"
        )
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(whole)


def _await(generation: Generation, client: ClientConnection) -> tuple[Embedded, str]:
    """Wait for the vectors; return them with the concrete model's id.

    Raises:
        ApiError: The question failed.
        ClientGoneError: The client left.
    """
    model = ""
    while True:
        client.wait_for(generation.fileno(), _POLL_S)
        for event in generation.take():
            match event:
                case Started():
                    model = event.model
                case Embedded():
                    return event, model
                case Failure():
                    raise ApiError.from_failure(event)
                case _:
                    pass
