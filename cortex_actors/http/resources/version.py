"""GET /version."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.http.answers import BuildVersion
from cortex_actors.http.backend import Backend
from cortex_actors.http.resources.snapshot import answer_json


@final
class Version:
    """Which build serves; the daemon's may differ for a moment during an upgrade."""

    def __init__(self, backend: Backend, version: str) -> None:
        self._backend = backend
        self._version = version

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer at once."""
        state = self._backend.service
        service, daemon_version = (state.service, state.version) if state else (None, None)
        answer_json(resp, BuildVersion(self._version, service, daemon_version))
