"""GET and HEAD /health and /ready: monitors often ask with HEAD."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.http.answers import Readiness
from cortex_actors.http.backend import Backend
from cortex_actors.http.health_view import health
from cortex_actors.http.resources.snapshot import answer_json


@final
class Health:
    """Liveness, always 200; and how the fleet is as far as the daemon has pushed its state.

    It asks nobody, so nothing can delay it.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at once."""
        answer_json(resp, health(self._backend.service))

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the same without its body."""
        self.on_get(req, resp)


@final
class Ready:
    """Readiness: whether a request sent now can be expected to be served."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 or 503 with the reason, from the pushed state."""
        reason = self._reason()
        answer_json(resp, Readiness(not reason, reason))
        if reason:
            resp.status = falcon.HTTP_503
            resp.set_header("retry-after", "1")

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the same without its body."""
        self.on_get(req, resp)

    def _reason(self) -> str:
        if not self._backend.connected:
            return "the daemon is not connected"
        state = self._backend.service
        if state is None:
            return "the daemon has not told its state yet"
        return "" if state.ready else state.reason or "not ready"
