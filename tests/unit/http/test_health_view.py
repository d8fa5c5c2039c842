"""The fleet in one word (R01 to R06)."""

from __future__ import annotations

import pytest

from cortex_actors.http.answers import HealthVerdict, NodeCounts, Unservable
from cortex_actors.http.health_view import health
from tests.unit.serving.doubles import model_state, neuron_state
from transports.schemas.fleet import NeuronState, ServiceState


def state(*neurons: NeuronState, ready: bool = True) -> ServiceState:
    return ServiceState("cortexd", "1", ready, "", 1.0, neurons)


def test_a_process_that_knows_nothing_yet_lives() -> None:
    assert health(None) == HealthVerdict("ok")


def test_silence_is_servable() -> None:
    busy = model_state("m", running=4, waiting=9)
    verdict = health(state(neuron_state("a", busy, model_state("n", "starting"))))
    assert verdict == HealthVerdict("ok", NodeCounts(healthy=1, total=1))


@pytest.mark.parametrize("kind", ["failed", "recovering"])
def test_a_model_that_cannot_serve_is_named_with_its_reason(kind: str) -> None:
    bad = model_state("m", kind, error="rank 0 died")
    verdict = health(state(neuron_state("a", bad), neuron_state("b", model_state("m"))))
    assert verdict.status == "impaired"
    assert verdict.unservable == [Unservable("a", "m", kind, "rank 0 died")]


def test_models_of_a_neuron_that_is_away_are_not_counted() -> None:
    gone = neuron_state("a", model_state("m", "failed"), state="suspect")
    verdict = health(state(gone, neuron_state("b")))
    assert verdict == HealthVerdict("ok", NodeCounts(healthy=1, total=2))


def test_without_a_neuron_the_fleet_is_degraded() -> None:
    assert health(state(neuron_state("a", state="down"))).status == "degraded"
    assert health(state(ready=False)) == HealthVerdict("degraded")
