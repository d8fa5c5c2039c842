"""GET /metrics."""

from __future__ import annotations

from typing import Final, final

import falcon

from cortex_actors.http.backend import Backend
from cortex_actors.http.resources.daemon_question import ask
from transports.schemas.fleet import MetricsText, QueryMetrics

DEADLINE_S: Final = 5.0


@final
class Metrics:
    """The daemon's Prometheus exposition, which counts what all front-end processes report."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Pass the exposition on."""
        metrics = ask(self._backend, QueryMetrics(), MetricsText, DEADLINE_S)
        resp.content_type = metrics.content_type
        resp.text = metrics.text
