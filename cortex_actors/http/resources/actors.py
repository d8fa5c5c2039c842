"""GET /debug/actors."""

from __future__ import annotations

from typing import Final, final

import falcon
import msgspec

from cortex_actors.http.backend import Backend
from cortex_actors.http.resources.daemon_question import ask
from cortex_actors.http.resources.snapshot import answer_json
from transports.schemas.fleet import ActorTable, QueryActors

DEADLINE_S: Final = 5.0


@final
class Actors:
    """Every live actor of the daemon."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Ask for the table."""
        table = ask(self._backend, QueryActors(), ActorTable, DEADLINE_S)
        answer_json(resp, {"actors": [msgspec.structs.asdict(row) for row in table.rows]})
