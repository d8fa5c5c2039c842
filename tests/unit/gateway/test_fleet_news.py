"""What neurons say and stop saying, from the link to /v1/models."""

from __future__ import annotations

import pytest

from cortex_actors.serving.router import LATE_S
from tests.unit.gateway.gateway_scene import GatewayScene, ScriptedNeuron
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import model_state
from transports.failures import FailureCode
from transports.reactor import Reactor
from transports.schemas.fleet import Lease, LoadModel


@pytest.fixture
def busy(reactor: Reactor) -> ScriptedNeuron:
    return ScriptedNeuron(reactor, "busy")


@pytest.fixture
def roomy(reactor: Reactor) -> ScriptedNeuron:
    return ScriptedNeuron(reactor, "roomy")


@pytest.fixture
def scene(
    start: Start, reactor: Reactor, busy: ScriptedNeuron, roomy: ScriptedNeuron
) -> GatewayScene:
    return GatewayScene(start, reactor, {"busy": busy, "roomy": roomy})


def test_a_recovering_model_is_waited_for_and_not_loaded_elsewhere(
    scene: GatewayScene, busy: ScriptedNeuron, roomy: ScriptedNeuron
) -> None:
    """N07 and P07: it is listed as what it is, and whoever cannot wait is told so."""
    recovering = model_state("m", "recovering", neuron="busy")
    scene.await_neurons(busy=busy.says(recovering), roomy=roomy.says(free_mb=(2000,)))
    assert (scene.listed()["status"], scene.listed()["loaded"]) == ("recovering", False)

    hurried = scene.ask(deadline=scene.clock.now() + LATE_S + 1.0)
    patient = scene.ask()
    scene.passes(1.0)
    failure = hurried.failure()
    assert (failure.code, failure.retry_after_s) == (FailureCode.MODEL_LOADING, 2.0)
    assert "recovering" in failure.message
    assert isinstance(busy.next().body, LoadModel)
    assert roomy.asked.empty()

    scene.await_neurons(busy=busy.says(model_state("m", neuron="busy")))
    lease = patient.answer()
    assert isinstance(lease, Lease)
    assert lease.neuron == "busy"


def test_a_model_that_is_not_listed_any_more_is_not_there(
    scene: GatewayScene, busy: ScriptedNeuron, roomy: ScriptedNeuron
) -> None:
    """N05: a model that its neuron does not list any more is not there."""
    scene.await_neurons(busy=busy.says(model_state("m")), roomy=roomy.says())
    assert scene.listed()["replicas"]

    scene.await_neurons(busy=busy.says())
    assert (scene.listed()["status"], scene.listed()["replicas"]) == ("unloaded", [])
