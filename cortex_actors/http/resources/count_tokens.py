"""POST /v1/messages/count_tokens."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.dialects.anthropic.messages_request import CountRequest
from cortex_actors.dialects.events import Counted
from cortex_actors.http.backend import Backend
from cortex_actors.http.ignored_fields import tell_ignored
from cortex_actors.http.recorded_generation import begin
from cortex_actors.http.request_body import read_json
from cortex_actors.http.resources.generated_response import single_answer, unique_id
from cortex_actors.http.resources.snapshot import answer_json


@final
class CountTokensOfMessages:
    """Exact: the model's own engine renders the prompt, and is loaded for it if it must be."""

    def __init__(self, backend: Backend, body_limit: int) -> None:
        self._backend = backend
        self._body_limit = body_limit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with the length of the prompt."""
        asked = CountRequest.parse(read_json(req, self._body_limit))
        tell_ignored(resp, asked)
        question = asked.to_count(unique_id(req))
        generation = begin(req, self._backend, question, param_of=asked.param_of)
        counted, _ = single_answer(req, generation, Counted)
        answer_json(resp, {"input_tokens": counted.prompt_tokens})
