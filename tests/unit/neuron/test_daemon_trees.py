"""Both daemons' whole trees, with stubs in place of their processes."""

from __future__ import annotations

import queue
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.config.devices import DeviceChoice
from cortex_actors.config.gateway_config import (
    EvictionSettings,
    GatewayConfig,
    GatewaySettings,
    NeuronEntry,
)
from cortex_actors.config.neuron_config import NeuronConfig, NeuronSettings
from cortex_actors.config.restart_settings import RestartSettings
from cortex_actors.gateway.tree import GatewayTree
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.tree import NeuronTree
from cortex_actors.serving.daemon_tree import Ground
from tests.eventually import eventually
from tests.unit.neuron.asking_front_end import WAIT_S, FrontEnd
from tests.unit.neuron.stub_processes import StubLauncher
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import CallEvent, Completed, Failed, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import (
    ActorTable,
    LeaseRequest,
    LoadModelById,
    ModelUnloaded,
    NeuronState,
    QueryActors,
    UnloadModel,
)

pytestmark = pytest.mark.process
CATALOGUE = Catalogue(models=(CatalogueEntry(id="gone", source="file:///nowhere/gone.gguf"),))


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        yield Path(directory)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor("test")
    reactor.start()
    yield reactor
    reactor.stop()
    assert reactor.join(WAIT_S)


@pytest.fixture
def gateway(reactor: Reactor, launcher: StubLauncher, directory: Path) -> GatewayTree:
    return gateway_of(Ground(reactor, launcher.source(), directory))


def gateway_of(ground: Ground, *neurons: NeuronEntry) -> GatewayTree:
    settings = GatewaySettings(drain_s=0.1)
    config = GatewayConfig(
        Path("cortex.yaml"),
        settings,
        EvictionSettings(),
        neurons,
        CATALOGUE,
        Path("models.yaml"),
    )
    return GatewayTree(config, ground)


@pytest.fixture
def neuron(reactor: Reactor, launcher: StubLauncher, directory: Path) -> NeuronTree:
    settings = NeuronSettings(drain_s=0.1, devices=DeviceChoice("cpu"), link="tcp://127.0.0.1:*")
    config = NeuronConfig(Path("neuron.yaml"), settings, RestartSettings(), ("gone",), CATALOGUE)
    return NeuronTree(config, Ground(reactor, launcher.source(), directory), "fake")


@pytest.fixture(params=["gateway", "neuron"])
def tree(request: pytest.FixtureRequest) -> GatewayTree | NeuronTree:
    tree: GatewayTree | NeuronTree = request.getfixturevalue(request.param)
    return tree


@pytest.fixture
def root(tree: GatewayTree | NeuronTree, launcher: StubLauncher) -> Iterator[ActorRef]:
    root = tree.start()
    assert root.ready.wait(WAIT_S)
    yield root
    root.stop()
    assert root.exit.wait(WAIT_S)
    assert launcher.alive() == []


def code(event: CallEvent) -> str:
    assert isinstance(event, Failed), event
    return event.failure.code


@pytest.mark.usefixtures("root")
def test_operators_see_every_actor(reactor: Reactor, directory: Path) -> None:
    answer = FrontEnd(reactor, directory).ask(QueryActors())

    assert isinstance(answer, Completed)
    assert isinstance(answer.body, ActorTable)
    states = {row.name: row.state for row in answer.body.rows}
    assert {"root", "router", "operations", "front_desk", "front_end"} <= set(states)
    assert set(states.values()) == {"running"}


@pytest.mark.usefixtures("root")
def test_draining_turns_readiness_off_at_once_and_grants_nothing_new(
    tree: GatewayTree | NeuronTree, reactor: Reactor, directory: Path
) -> None:
    front_end = FrontEnd(reactor, directory)
    tree.begin_drain()

    assert not front_end.await_state("shutting down").ready
    assert code(front_end.ask(LeaseRequest("id", "gone"))) == FailureCode.SHUTTING_DOWN


class Gateway(FrontEnd):
    """A gateway reduced to its link to the neuron."""

    def __init__(self, reactor: Reactor, endpoint: str) -> None:
        self.words: queue.SimpleQueue[str] = queue.SimpleQueue()
        reactor.connect(endpoint, process_identity("gateway", "gateway"), self)

    def on_up(self, link: Link) -> None:
        pass

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        assert isinstance(body, NeuronState)
        self.words.put(body.state)


def test_gateways_are_told_at_once_that_a_neuron_drains(
    neuron: NeuronTree, reactor: Reactor
) -> None:
    root = neuron.start()
    assert root.ready.wait(WAIT_S)
    gateway = Gateway(reactor, neuron.registry.find("gateway_links").summary())
    assert gateway.words.get(timeout=WAIT_S) == "up"
    neuron.begin_drain()

    eventually(lambda: gateway.words.get(timeout=WAIT_S) == "draining", WAIT_S)
    root.stop()
    assert root.exit.wait(WAIT_S)


@pytest.mark.usefixtures("root")
def test_a_router_that_crashes_takes_along_what_refers_to_it(
    tree: GatewayTree | NeuronTree, reactor: Reactor, launcher: StubLauncher, directory: Path
) -> None:
    front_end = FrontEnd(reactor, directory)
    former = {name: tree.registry.find(name).inc for name in ("operations", "router")}
    tree.registry.find("router").stop(ExitReason.crash("a bug"))

    assert front_end.downs.get(timeout=WAIT_S)
    eventually(lambda: len(launcher.spawned("front_end")) == 2, WAIT_S)
    assert launcher.alive_at_spawn[-1] == []
    assert all(tree.registry.find(name).inc > inc for name, inc in former.items())
    assert code(FrontEnd(reactor, directory).ask(LeaseRequest("id", "no"))) == (
        FailureCode.MODEL_NOT_FOUND
    )


def test_a_gateway_whose_neuron_does_not_answer_says_so(
    reactor: Reactor, launcher: StubLauncher, directory: Path
) -> None:
    away = NeuronEntry.model_validate({"name": "away", "endpoint": f"ipc://{directory}/away"})
    gateway = gateway_of(Ground(reactor, launcher.source(), directory), away)
    root = gateway.start()
    assert root.ready.wait(WAIT_S)
    front_end = FrontEnd(reactor, directory)

    state = front_end.await_state("no neuron is connected")
    assert not state.ready
    assert [(each.name, each.state) for each in state.neurons] == [("away", "down")]
    eventually(lambda: gateway.neuron_states()[0].age_s > state.neurons[0].age_s, WAIT_S)
    for question in (LeaseRequest("id", "gone"), LoadModelById("gone")):
        assert code(front_end.ask(question)) == FailureCode.MODEL_UNAVAILABLE
    assert code(front_end.ask(UnloadModel("gone"))) == FailureCode.MODEL_NOT_FOUND
    assert code(front_end.ask(QueryActors("elsewhere"))) == FailureCode.INVALID_REQUEST
    root.stop()
    assert root.exit.wait(WAIT_S)


def test_a_neuron_whose_model_has_no_files_says_so_and_forgets_it_when_told(
    neuron: NeuronTree, reactor: Reactor, directory: Path
) -> None:
    root = neuron.start()
    assert root.ready.wait(WAIT_S)
    front_end = FrontEnd(reactor, directory)

    (model,) = front_end.await_state("gone is failed").models
    assert "/nowhere/gone.gguf" in model.error
    for question in (LeaseRequest("id", "gone"), LoadModelById("gone")):
        assert code(front_end.ask(question)) == FailureCode.SOURCE_NOT_FOUND
    assert front_end.ask(UnloadModel("gone")) == Completed(ModelUnloaded("gone"))
    front_end.await_state("gone is waiting")
    assert code(front_end.ask(LoadModelById("gone"))) == FailureCode.SOURCE_NOT_FOUND
    root.stop()
    assert root.exit.wait(WAIT_S)
