"""GET /debug/actors."""

from __future__ import annotations

from typing import Final, final

import falcon

from cortex_actors.http.backend import Backend
from cortex_actors.http.body_view import body_view
from cortex_actors.http.inspection_answers import Actor, ActorList
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.snapshot import answer_json
from transports.schemas.fleet import ActorTable, QueryActors

DEADLINE_S: Final = 5.0


@final
class Actors:
    """Every live actor of the daemon, or of one of its neurons (``?neuron=NAME``)."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask for the table."""
        question = QueryActors(req.get_param("neuron") or "")
        table = ask(self._backend, question, ActorTable, DEADLINE_S)
        answer_json(resp, ActorList([body_view(row, Actor) for row in table.rows]))
