"""The NeuronConnection actor on a real link to a neuron that plays back a script."""

from __future__ import annotations

import logging
import queue
import socket
from typing import cast

import msgspec
import pytest

from cortex_actors.gateway.messages import (
    ActorsAsked,
    LinkLost,
    LinkUp,
    LoadEnded,
    LoadOn,
    NeuronLost,
    UnloadEnded,
    UnloadOn,
)
from cortex_actors.gateway.neuron_connection import NeuronAddress, NeuronConnection, _Events
from cortex_actors.gateway.tree import RECONNECT
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.serving.messages import NeuronChanged
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import (
    SOON_S,
    Audience,
    FakeLink,
    FakeRequest,
    Recorder,
    model_state,
    neuron_state,
)
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import Completed, Failed, IncomingRequest, Link, Lost
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import (
    ActorRow,
    ActorTable,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    ModelUnloaded,
    QueryActors,
    UnloadModel,
)
from transports.schemas.link import Failure

SPEC = ModelSpec("m", "file:///m.gguf")


class Neuron:
    """Listens where gateways connect and keeps what they ask."""

    def __init__(self, reactor: Reactor) -> None:
        self.links: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self.asked: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
        self.downs: queue.SimpleQueue[str] = queue.SimpleQueue()
        me = process_identity("neuron", "calls-itself-so")
        self.listener = reactor.listen("tcp://127.0.0.1:*", me, self)

    def on_up(self, link: Link) -> None:
        self.links.put(link)

    def on_request(self, request: IncomingRequest) -> None:
        self.asked.put(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        raise AssertionError("gateways note nothing")

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.downs.put(reason)


@pytest.fixture
def neuron(reactor: Reactor) -> Neuron:
    return Neuron(reactor)


class Scene:
    """A connection to the neuron, and what Placement hears of it."""

    def __init__(self, start: Start, reactor: Reactor, endpoint: str) -> None:
        self.placement = Audience(start(Recorder, name="placement"))
        self.connection = start(
            NeuronConnection,
            NeuronAddress("n1", endpoint),
            reactor,
            self.placement.ref,
            5.0,
            name="neuron/n1",
        )


@pytest.fixture
def scene(start: Start, reactor: Reactor, neuron: Neuron) -> Scene:
    return Scene(start, reactor, neuron.listener.endpoint)


def link_of(neuron: Neuron) -> Link:
    return neuron.links.get(timeout=SOON_S)


def test_the_state_that_is_pushed_is_passed_on_under_the_operators_name(
    scene: Scene, neuron: Neuron
) -> None:
    link_of(neuron).note(neuron_state("calls-itself-so", model_state("m", neuron="itself")))

    state = scene.placement.next(NeuronChanged).state
    assert state == neuron_state("n1", model_state("m", neuron="n1"))


def test_a_lost_link_ends_the_actor_and_is_told(scene: Scene, neuron: Neuron) -> None:
    link_of(neuron).close("shutdown")

    assert scene.placement.next(NeuronLost) == NeuronLost("n1", scene.connection.inc)
    assert scene.connection.exit.wait(SOON_S)
    assert scene.connection.exit.result().abnormal


def test_nobody_at_the_address_ends_the_actor(
    start: Start, reactor: Reactor, neuron: Neuron
) -> None:
    neuron.listener.close()
    scene = Scene(start, reactor, neuron.listener.endpoint)

    assert scene.connection.exit.wait(10.0)


@pytest.mark.parametrize("fails", [False, True])
def test_a_load_is_asked_once_and_its_end_told(scene: Scene, neuron: Neuron, fails: bool) -> None:
    link_of(neuron)
    eventually(lambda: "up" in scene.connection.summary())
    scene.connection.notify(LoadOn(SPEC))
    request = neuron.asked.get(timeout=SOON_S)
    assert request.body == LoadModel(SPEC)
    request.progress(model_state("m", "starting"))
    loaded, failure = ModelLoaded("m", 1.0), Failure(FailureCode.LOAD_FAILED, "no")
    if fails:
        request.fail(failure)
    else:
        request.complete(loaded)

    event = Failed(failure) if fails else Completed(loaded)
    assert scene.placement.next(LoadEnded) == LoadEnded("m", "n1", scene.connection.inc, event)
    assert neuron.asked.empty()


def test_a_large_model_may_take_longer_to_load(scene: Scene, neuron: Neuron) -> None:
    link_of(neuron)
    eventually(lambda: "up" in scene.connection.summary())
    deadlines = []
    for memory_mb in (100, 2_000_000):
        spec = msgspec.structs.replace(SPEC, id=f"m{memory_mb}", vram_mb=memory_mb)
        scene.connection.notify(LoadOn(spec))
        deadlines.append(neuron.asked.get(timeout=SOON_S).deadline)

    ordinary, large = deadlines
    assert ordinary is not None
    assert large is not None
    # A hundred times as large, a hundred times 5 s.
    assert large - ordinary > 400.0


def test_a_link_that_is_lost_while_it_loads_is_the_loads_end(scene: Scene, neuron: Neuron) -> None:
    link = link_of(neuron)
    eventually(lambda: "up" in scene.connection.summary())
    scene.connection.notify(LoadOn(SPEC))
    neuron.asked.get(timeout=SOON_S)
    link.close("shutdown")

    assert isinstance(scene.placement.next(LoadEnded).event, Lost)
    scene.placement.next(NeuronLost)


def test_an_unload_is_asked_and_its_end_told(scene: Scene, neuron: Neuron) -> None:
    link_of(neuron)
    eventually(lambda: "up" in scene.connection.summary())
    scene.connection.notify(UnloadOn("m", keep_warm=True))
    request = neuron.asked.get(timeout=SOON_S)
    assert request.body == UnloadModel("m", keep_warm=True)
    request.complete(ModelUnloaded("m"))

    ended = scene.placement.next(UnloadEnded)
    assert ended.event == Completed(ModelUnloaded("m"))


def test_what_is_asked_before_the_link_is_up_is_lost_at_once(
    start: Start, reactor: Reactor
) -> None:
    scene = Scene(start, reactor, "tcp://127.0.0.1:9")
    scene.connection.notify(LoadOn(SPEC))

    event = scene.placement.next(LoadEnded).event
    assert isinstance(event, Lost)


def test_a_silent_neuron_is_suspect_until_it_speaks_again(
    scene: Scene, neuron: Neuron, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = link_of(neuron)
    link.note(neuron_state("n1"))
    scene.placement.next(NeuronChanged)
    _Events(scene.connection).on_suspect(link)
    assert scene.placement.next(NeuronChanged).state.state == "suspect"

    link.note(neuron_state("n1"))
    assert scene.placement.next(NeuronChanged).state.state == "up"


def test_a_stopped_connection_takes_its_link_along(scene: Scene, neuron: Neuron) -> None:
    link_of(neuron)
    eventually(lambda: "up" in scene.connection.summary())
    scene.connection.stop()

    assert neuron.downs.get(timeout=SOON_S) == "shutdown"


def test_a_link_that_comes_up_after_its_actor_ended_is_closed(start: Start) -> None:
    actor = start(Recorder, name="neuron/n1")
    events, link = _Events(actor), FakeLink()
    events.close("shutdown")
    events.on_up(link)

    assert link.closed == ["shutdown"]
    assert Audience(actor).heard(LinkUp) == []


def test_a_lost_neuron_is_connected_anew_as_a_new_incarnation(
    start: Start, reactor: Reactor, neuron: Neuron
) -> None:
    placement = Audience(start(Recorder, name="placement"))

    def connection() -> ActorRef:
        return NeuronConnection.start(
            NeuronAddress("n1", neuron.listener.endpoint),
            reactor,
            placement.ref,
            5.0,
            name="neuron/n1",
        )

    start(Supervisor, (ChildSpec("neuron/n1", connection),), RECONNECT, name="fleet")
    former = link_of(neuron)
    former.close("shutdown")
    latter = link_of(neuron)
    latter.note(neuron_state("n1"))

    assert latter.peer.boot == former.peer.boot
    assert latter.peer.inc > former.peer.inc
    placement.next(NeuronLost)
    assert placement.next(NeuronChanged).state.state == "up"


def test_a_neurons_actors_are_asked_for_over_its_link(scene: Scene, neuron: Neuron) -> None:
    link_of(neuron)
    eventually(lambda: " up" in scene.connection.summary())
    asked = FakeRequest(QueryActors("n1"))
    scene.connection.notify(ActorsAsked(cast("IncomingRequest", asked)))
    request = neuron.asked.get(timeout=SOON_S)
    table = ActorTable((ActorRow("models", "Models", "running", 1, 2, 3),))
    assert request.body == QueryActors()
    request.complete(table)

    eventually(lambda: asked.answers == [table])


def test_the_actors_of_a_neuron_that_does_not_answer_are_not_known(
    scene: Scene, neuron: Neuron
) -> None:
    link = link_of(neuron)
    asked = FakeRequest(QueryActors("n1"))
    scene.connection.notify(ActorsAsked(cast("IncomingRequest", asked)))
    link.close("shutdown")

    eventually(lambda: bool(asked.answers))
    assert asked.failure().code == FailureCode.MODEL_UNAVAILABLE
    assert asked.failure().message == "neuron 'n1' does not answer"


@pytest.mark.parametrize(
    ("reason", "hint"),
    [("connect_failed", ""), ("handshake_refused", "; do the keys of both sides fit?")],
)
def test_why_a_neuron_cannot_be_reached_is_told_with_its_address(
    start: Start, reactor: Reactor, caplog: pytest.LogCaptureFixture, reason: str, hint: str
) -> None:
    caplog.set_level(logging.WARNING, "cortex")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        connection = Scene(start, reactor, endpoint).connection
        connection.notify(LinkLost(reason, "error 400"))

        assert connection.exit.wait(SOON_S)
    told = [each for each in caplog.messages if each.startswith("not connected")]
    assert told == [f"not connected neuron=n1 endpoint={endpoint} reason={reason} error 400{hint}"]
