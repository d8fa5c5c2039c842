"""POST /v1/embeddings."""

from __future__ import annotations

from typing import final

import falcon
import msgspec

from cortex_actors.dialects.events import Embedded
from cortex_actors.dialects.openai.embedding_encoder import embedding_list
from cortex_actors.dialects.openai.embedding_request import EmbeddingRequest
from cortex_actors.http.backend import Backend
from cortex_actors.http.ignored_fields import tell_ignored
from cortex_actors.http.recorded_generation import begin
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.generated_response import single_answer, unique_id


@final
class Embeddings:
    """All vectors in one object; a client that leaves cancels the question."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Serve the embeddings of one request's inputs."""
        asked = EmbeddingRequest.parse(read_json(req, self._body_limit))
        tell_ignored(resp, asked)
        generation = begin(req, self._backend, asked.to_embed(unique_id(req)))
        embedded, model = single_answer(req, generation, Embedded)
        whole = embedding_list(
            embedded, model or asked.model, as_base64=asked.encoding_format == "base64"
        )
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(whole)
