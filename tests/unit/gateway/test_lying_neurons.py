"""Neurons that say what is not so, over real links: they harm nobody but themselves."""

from __future__ import annotations

import msgspec
import pytest

from cortex_actors.gateway.load_failures import MOST
from tests.eventually import eventually
from tests.unit.gateway.gateway_scene import GatewayScene, ScriptedNeuron
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import SOON_S, model_state
from transports.failures import FailureCode
from transports.reactor import Reactor
from transports.schemas.fleet import Lease, LoadModel, ModelLoaded, UnloadModel

HONEST = "tcp://127.0.0.1:7"
FLOOD, FEW = 2000, 20


@pytest.fixture
def honest(reactor: Reactor) -> ScriptedNeuron:
    return ScriptedNeuron(reactor, "local")


@pytest.fixture
def liar(reactor: Reactor) -> ScriptedNeuron:
    return ScriptedNeuron(reactor, "local")


@pytest.fixture
def scene(
    start: Start, reactor: Reactor, honest: ScriptedNeuron, liar: ScriptedNeuron
) -> GatewayScene:
    return GatewayScene(start, reactor, {"honest": honest, "liar": liar})


def test_two_neurons_that_call_themselves_alike_are_two(
    scene: GatewayScene, honest: ScriptedNeuron, liar: ScriptedNeuron
) -> None:
    here, there = honest.says(model_state("m")), liar.says()
    scene.await_neurons(honest=here, liar=there)

    lease = scene.ask().answer()
    assert isinstance(lease, Lease)
    assert (lease.neuron, lease.endpoint) == ("honest", HONEST)
    assert scene.listed()["replicas"][0]["neuron"] == "honest"


def test_memory_below_zero_makes_no_room(
    scene: GatewayScene, honest: ScriptedNeuron, liar: ScriptedNeuron
) -> None:
    squatter = model_state("never-heard-of", memory_mb=-10_000, running=-3, waiting=-1)
    there = liar.says(squatter, model_state("m", "shining"), free_mb=(-1, -(10**12)))
    scene.await_neurons(honest=honest.says(), liar=there)
    waiting = scene.ask()

    load = honest.next()
    assert isinstance(load.body, LoadModel)
    load.complete(ModelLoaded("m", 1.0))
    honest.says(model_state("m"))
    lease = waiting.answer()
    assert isinstance(lease, Lease)
    assert lease.neuron == "honest"
    assert liar.asked.empty()


def test_what_nobody_asked_for_is_shown_and_not_served(
    scene: GatewayScene, honest: ScriptedNeuron, liar: ScriptedNeuron
) -> None:
    there = liar.says(model_state("never-heard-of"))
    scene.await_neurons(honest=honest.says(), liar=there)

    assert scene.ask("never-heard-of").failure().code == FailureCode.MODEL_NOT_FOUND
    assert scene.listed("never-heard-of")["replicas"][0]["neuron"] == "liar"


@pytest.mark.parametrize(("state", "endpoint"), [("shining", "tcp://127.0.0.1:9"), ("ready", "")])
def test_a_replica_in_no_known_state_or_without_an_address_gets_no_request(
    scene: GatewayScene, honest: ScriptedNeuron, liar: ScriptedNeuron, state: str, endpoint: str
) -> None:
    shown = msgspec.structs.replace(model_state("m", state), endpoint=endpoint)
    there = liar.says(shown)
    scene.await_neurons(honest=honest.says(model_state("m")), liar=there)

    leases = [scene.ask().answer() for _ in range(4)]
    assert [lease.neuron for lease in leases if isinstance(lease, Lease)] == ["honest"] * 4


def test_a_load_that_never_ends_is_given_up_and_undone(
    scene: GatewayScene, liar: ScriptedNeuron, honest: ScriptedNeuron
) -> None:
    scene.await_neurons(honest=honest.says(free_mb=(0,)), liar=liar.says())
    waiting = scene.ask()
    assert isinstance(liar.next().body, LoadModel)

    assert waiting.failure().code == FailureCode.DEADLINE_EXCEEDED
    undone = liar.next()
    assert undone.body == UnloadModel("m")


def test_a_load_that_is_said_to_be_done_and_is_not_counts_as_failed(
    scene: GatewayScene, liar: ScriptedNeuron, honest: ScriptedNeuron
) -> None:
    scene.await_neurons(honest=honest.says(free_mb=(0,)), liar=liar.says())
    liar.on_ask = lambda request: request.complete(ModelLoaded("m", 0.0))
    waiting = scene.ask()

    def answered() -> bool:
        scene.passes(1.0)
        return bool(waiting.answers)

    eventually(answered, SOON_S)

    assert "has not listed it as ready" in waiting.failure().message
    assert waiting.failure().retry_after_s


def test_a_model_that_dies_at_once_three_times_is_failed_with_the_reason(
    scene: GatewayScene, liar: ScriptedNeuron, honest: ScriptedNeuron
) -> None:
    scene.await_neurons(honest=honest.says(free_mb=(0,)), liar=liar.says())
    for _ in range(MOST):
        waiting = scene.ask()
        liar.next().complete(ModelLoaded("m", 1.0))
        liar.says(model_state("m"))
        assert isinstance(waiting.answer(), Lease)
        dead = liar.says(model_state("m", "failed", error="rank 0 died (exit code 3)"))
        scene.await_neurons(liar=dead)
        eventually(lambda: scene.listed()["status"] == "failed", SOON_S)
        scene.await_neurons(liar=liar.says())
        refused = scene.ask().failure()
        assert "exit code 3" in refused.message
        scene.passes(100.0)

    assert scene.listed()["status"] == "failed"
    assert "exit code 3" in scene.listed()["error"]
    scene.passes(100_000.0)
    assert scene.ask().failure().code == FailureCode.LOAD_FAILED


def test_a_flood_of_reports_delays_nobody_and_fills_no_mailbox(
    scene: GatewayScene, honest: ScriptedNeuron, liar: ScriptedNeuron
) -> None:
    scene.await_neurons(honest=honest.says(model_state("m")), liar=liar.says())
    for number in range(FLOOD):
        last = liar.says(model_state("m", ("starting", "ready")[number % 2]), free_mb=(number,))
        assert scene.connection("liar").mailbox < FEW
        assert scene.placement.mailbox < FEW
    scene.await_neurons(liar=last)

    assert scene.connection("liar").handled < FLOOD / 10
