"""GET /discovery and /models of a neuron."""

from __future__ import annotations

from typing import final

import falcon

from cortex_actors.http import fleet_answers, service_view
from cortex_actors.http.backend import Backend
from cortex_actors.http.resources.snapshot import answer_json, own_neuron, service_state


@final
class Discovery:
    """What this host is and which devices it offers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer from the pushed state."""
        answer_json(resp, service_view.neuron(own_neuron(self._backend)))


@final
class NeuronModels:
    """The models of this host and how they are."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer from the pushed state."""
        state = service_state(self._backend)
        answer_json(resp, fleet_answers.NeuronModels(service_view.hosted(state.models)))
