"""Which replicas may be routed to at all. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from transports.schemas.fleet import ModelState, NeuronState

READY = "ready"
UP = "up"
DRAINING = "draining"
"""What a neuron that is shutting down says of itself: what runs goes on, nothing else begins."""


def is_servable(model: ModelState, neuron: NeuronState) -> bool:
    """Whether requests may go to this replica now."""
    return neuron.state == UP and model.state == READY and bool(model.endpoint)


def servable(model: str, neurons: Iterable[NeuronState]) -> tuple[ModelState, ...]:
    """Every replica of ``model`` that may be routed to now."""
    return tuple(
        state
        for neuron in neurons
        for state in neuron.models
        if state.id == model and is_servable(state, neuron)
    )
