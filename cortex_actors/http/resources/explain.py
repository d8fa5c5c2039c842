"""GET …/requests/{id}: what became of a request."""

from __future__ import annotations

from typing import Final, final

import falcon

from cortex_actors.http.backend import Backend
from cortex_actors.http.body_view import body_view
from cortex_actors.http.inspection_answers import RequestFigures, RequestStep, RequestTrail
from cortex_actors.http.request_phases import request_phases
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.snapshot import answer_json
from transports.schemas.fleet import Explanation, QueryExplain

DEADLINE_S: Final = 5.0


@final
class Explain:
    """For the latest requests; a daemon that restarted has forgotten the earlier ones."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        """Answer with the request's steps and, once it has ended, its figures."""
        found = ask(self._backend, QueryExplain(request_id), Explanation, DEADLINE_S)
        settled = found.settled
        answer_json(
            resp,
            RequestTrail(
                request_id=found.request_id,
                model=found.model,
                steps=[body_view(step, RequestStep) for step in found.steps],
                load_s=found.load_s,
                settled=None if settled is None else body_view(settled, RequestFigures),
                phases=None if settled is None else request_phases(settled, found.load_s),
            ),
        )
