"""GET and HEAD /: what this is, for people and for clients that look whether something is here."""

from __future__ import annotations

from typing import Final, final

import falcon

from cortex_actors.http.answers import Welcome
from cortex_actors.http.backend import Backend
from cortex_actors.http.resources.snapshot import answer_json

LINKS: Final = {
    "api": "/openapi.json",
    "health": "/health",
    "models": "/v1/models",
    "ready": "/ready",
}


@final
class Index:
    """It asks nobody; whether a model can be served is what ``/ready`` tells."""

    def __init__(self, backend: Backend, version: str) -> None:
        self._backend = backend
        self._version = version

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at once."""
        state = self._backend.service
        service = state.service if state else None
        answer_json(resp, Welcome("cortex", self._version, service, LINKS))

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the same without its body, which Falcon leaves out."""
        self.on_get(req, resp)
