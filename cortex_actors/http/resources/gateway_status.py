"""GET /admin/status."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.http import service_view
from cortex_actors.http.backend import Backend
from cortex_actors.http.fleet_answers import FleetStatus
from cortex_actors.http.health_view import health
from cortex_actors.http.resources.snapshot import answer_json, service_state


@final
class GatewayStatus:
    """The whole fleet as the gateway knows it, for ``cortexd status``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer from the pushed state."""
        state = service_state(self._backend)
        answer_json(
            resp,
            FleetStatus(
                service=state.service,
                version=state.version,
                ready=state.ready,
                reason=state.reason,
                health=health(state),
                uptime_s=round(state.uptime_s, 1),
                connected=self._backend.connected,
                neurons=[service_view.neuron(each) for each in state.neurons],
                models=service_view.models(state),
                aliases=state.aliases,
            ),
        )
