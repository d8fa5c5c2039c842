"""Which replicas may be routed to."""

from __future__ import annotations

from cortex_actors.serving.routing import servable
from tests.unit.serving.doubles import model_state, neuron_state
from transports.schemas.fleet import ModelState


def test_only_ready_replicas_of_neurons_that_are_up_are_servable() -> None:
    ready = model_state("m", neuron="up")
    neurons = [
        neuron_state("up", ready, model_state("other", neuron="up")),
        neuron_state("loading", model_state("m", "starting", neuron="loading")),
        neuron_state("suspect", model_state("m", neuron="suspect"), state="suspect"),
        neuron_state("down", model_state("m", neuron="down"), state="down"),
        neuron_state("mute", ModelState("m", "ready", "mute")),
    ]

    assert servable("m", neurons) == (ready,)
