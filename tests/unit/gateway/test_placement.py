"""The Placement actor: one load per model, an answer to everyone, whatever becomes of neurons."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.fleet_cards import PlacementNotes
from cortex_actors.gateway.messages import (
    CatalogueChanged,
    LoadEnded,
    LoadOn,
    NeuronLost,
    OperatorLoad,
    OperatorUnload,
    Pin,
    Plan,
    UnloadEnded,
    UnloadOn,
)
from cortex_actors.gateway.placement import Placement, PlacementSettings
from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.http.answers import NodeCounts
from cortex_actors.http.health_view import health
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.messages import (
    EnsureLoaded,
    FleetChanged,
    LoadFinished,
    NeuronChanged,
    ReplicaInUse,
    Tick,
)
from cortex_actors.serving.state_board import StateBoard
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import (
    Audience,
    FakeRequest,
    Recorder,
    model_state,
    neuron_state,
    settle,
)
from transports.clock import ManualClock
from transports.failures import FailureCode
from transports.link import CallEvent, Completed, Failed, Lost
from transports.schemas.fleet import (
    LoadModelById,
    ModelLoaded,
    ModelState,
    ModelUnloaded,
    NeuronState,
    ServiceState,
    UnloadModel,
)
from transports.schemas.link import Failure
from transports.schemas.operations import ModelPinned, PinModel, PlanLoad

ENTRY = CatalogueEntry(id="m", source="file:///m.gguf")
DONE = Completed(ModelLoaded("m", 1.0))
REFUSED = Failure(FailureCode.SOURCE_CORRUPT, "not a GGUF")


class Scene:
    """A Placement actor in a fleet whose connections, router and publisher are recorders."""

    def __init__(self, start: Start, *neurons: str) -> None:
        self.start = start
        self.clock = ManualClock()
        self.board: StateBoard[tuple[NeuronState, ...]] = StateBoard((neuron_state("old"),))
        self.actors: dict[str, Audience] = {}
        self.publisher, self.router = self.actor("publisher"), self.actor("router")
        catalogue = Catalogue(models=(ENTRY,), aliases={"alias": ("m",)})
        self.notes = StateBoard(PlacementNotes())
        self.metrics = CollectorRegistry()
        self.placement = start(
            Placement,
            catalogue,
            self.board,
            self.publisher.ref,
            self._find,
            self.clock,
            metrics=PlacementMetrics(self.metrics),
            notes=self.notes,
            settings=PlacementSettings(neurons),
        )

    def actor(self, name: str) -> Audience:
        self.actors[name] = Audience(self.start(Recorder, name=name))
        return self.actors[name]

    def _find(self, name: str) -> ActorRef | None:
        audience = self.actors.get(name)
        return audience.ref if audience and audience.ref.alive else None

    def join(self, name: str, *models: ModelState, free_mb: int = 1000) -> Audience:
        """Have a neuron connect, or tell something new."""
        connection = self.actors.get(f"neuron/{name}") or self.actor(f"neuron/{name}")
        self.placement.notify(NeuronChanged(neuron_state(name, *models, free_mb=(free_mb,))))
        settle(self.placement)
        return connection

    def ensure(self, model: str = "m") -> None:
        self.placement.notify(EnsureLoaded(model, self.router.ref))
        settle(self.placement)

    def load(self, model: str = "m") -> FakeRequest:
        request = FakeRequest(LoadModelById(model))
        self.placement.notify(OperatorLoad(model, request))
        settle(self.placement)
        return request

    def unload(self, model: str = "m") -> FakeRequest:
        request = FakeRequest(UnloadModel(model))
        self.placement.notify(OperatorUnload(model, request))
        settle(self.placement)
        return request

    def load_ends(self, connection: Audience, event: CallEvent) -> None:
        name = connection.ref.name.removeprefix("neuron/")
        self.placement.notify(LoadEnded("m", name, connection.ref.inc, event))
        settle(self.placement)

    def unload_ends(self, connection: Audience, event: CallEvent) -> None:
        name = connection.ref.name.removeprefix("neuron/")
        self.placement.notify(UnloadEnded("m", name, connection.ref.inc, event))
        settle(self.placement)

    def lose(self, connection: Audience) -> None:
        """Have a connection's actor end, as it would."""
        connection.ref.stop()
        assert connection.ref.exit.wait(5.0)
        name = connection.ref.name.removeprefix("neuron/")
        del self.actors[connection.ref.name]
        self.placement.notify(NeuronLost(name, connection.ref.inc))
        settle(self.placement)


@pytest.fixture
def scene(start: Start) -> Scene:
    scene = Scene(start)
    settle(scene.placement)
    return scene


def test_it_begins_with_an_empty_fleet(scene: Scene) -> None:
    assert scene.board.read() == ()
    assert scene.router.heard(FleetChanged) == [FleetChanged()]


def test_what_neurons_tell_is_on_the_board_before_anyone_is_told_of_it(scene: Scene) -> None:
    scene.publisher.heard(Tick)
    scene.join("n1", model_state("m"))

    assert scene.board.read() == (neuron_state("n1", model_state("m")),)
    assert scene.publisher.heard(Tick) == [Tick()]


def test_the_end_of_a_request_that_nobody_waited_for_is_no_news(scene: Scene) -> None:
    scene.join("n1", model_state("m"))
    before = scene.board.read()
    scene.publisher.heard(Tick)
    scene.router.heard(FleetChanged)
    for leases in (1, 0):
        scene.placement.notify(ReplicaInUse("m", "n1", leases))
    settle(scene.placement)

    assert scene.board.read() is before
    assert scene.publisher.heard(Tick) == []
    assert scene.router.heard(FleetChanged) == []


def test_a_lost_neuron_is_down_with_nothing_on_it(scene: Scene) -> None:
    connection = scene.join("n1", model_state("m"))
    scene.lose(connection)

    (neuron,) = scene.board.read()
    assert (neuron.state, neuron.models) == ("down", ())


def test_a_configured_neuron_that_never_answered_is_down_since_the_gateway_began(
    start: Start,
) -> None:
    scene = Scene(start, "n1", "n2")
    settle(scene.placement)
    began = scene.clock.now()
    scene.clock.advance(4.0)
    scene.lose(scene.actor("neuron/n1"))
    scene.join("n2")

    waiting, there = scene.board.read()
    assert (waiting.name, waiting.state, waiting.boot) == ("n1", "down", 0)
    assert there == neuron_state("n2")
    assert scene.notes.read().heard == {"n1": began, "n2": began + 4.0}
    assert scene.load().answers == []
    verdict = health(ServiceState("cortexd", "1", True, "", 1.0, scene.board.read()))
    assert verdict.nodes == NodeCounts(healthy=1, total=2)


def test_one_load_serves_all_who_ask(scene: Scene) -> None:
    connection = scene.join("n1")
    scene.ensure()
    scene.ensure()
    asked = [scene.load(), scene.load("alias")]
    assert connection.heard(LoadOn) == [LoadOn(ENTRY.spec())]

    scene.clock.advance(4.0)
    scene.load_ends(connection, DONE)
    assert [request.answer() for request in asked] == [ModelLoaded("m", 4.0)] * 2
    assert scene.router.heard(LoadFinished) == [LoadFinished("m", None)]
    assert scene.placement.summary() == "neurons=1 jobs=none"


def test_jobs_are_counted_by_how_far_they_are_and_unloads_by_why(scene: Scene) -> None:
    def jobs() -> dict[str, float]:
        (family,) = (each for each in scene.metrics.collect() if "jobs" in each.name)
        return {sample.labels["phase"]: sample.value for sample in family.samples}

    connection = scene.join("n1")
    scene.load()
    assert jobs() == {"queued": 0, "evicting": 0, "verifying": 0, "loading": 1}
    scene.load_ends(connection, DONE)
    assert set(jobs().values()) == {0}

    scene.join("n1", model_state("m"))
    scene.unload()
    labels = {"gen_ai_request_model": "m", "neuron": "n1", "reason": "operator"}
    assert scene.metrics.get_sample_value("cortex_model_unloads_total", labels) == 1


def test_a_load_that_fails_is_told_as_it_was_answered(scene: Scene) -> None:
    connection = scene.join("n1")
    scene.ensure()
    asked = scene.load()
    scene.load_ends(connection, Failed(REFUSED))

    assert asked.failure() == REFUSED
    assert scene.router.heard(LoadFinished) == [LoadFinished("m", REFUSED)]


@pytest.mark.parametrize("told", [True, False], ids=["lost", "never sent"])
def test_a_neuron_that_is_lost_while_it_loads_ends_the_load(scene: Scene, told: bool) -> None:
    connection = scene.join("n1")
    scene.ensure()
    asked = scene.load()
    if told:
        scene.load_ends(connection, Lost("link_down", "disconnected"))
    scene.lose(connection)

    failure = asked.failure()
    assert failure.code == FailureCode.LINK_LOST
    assert failure.retry_after_s
    assert "'n1'" in failure.message
    assert scene.router.heard(LoadFinished) == [LoadFinished("m", failure)]


def test_the_end_of_a_former_load_does_not_end_the_next(scene: Scene) -> None:
    former = scene.join("n1")
    scene.load()
    scene.lose(former)
    latter = scene.join("n1")
    asked = scene.load()
    scene.load_ends(former, Lost("link_down"))
    assert asked.answers == []

    scene.load_ends(latter, DONE)
    assert isinstance(asked.answer(), ModelLoaded)


def test_a_model_that_is_ready_is_not_loaded_again(scene: Scene) -> None:
    connection = scene.join("n1", model_state("m"))
    scene.ensure()

    assert scene.load().answer() == ModelLoaded("m", 0.0)
    assert scene.router.heard(LoadFinished) == [LoadFinished("m", None)]
    assert connection.heard(LoadOn) == []


def test_a_model_that_is_on_its_way_somewhere_is_awaited_there(scene: Scene) -> None:
    scene.join("roomy", free_mb=9000)
    loading = scene.join("n1", model_state("m", "starting"))
    scene.ensure()

    assert loading.heard(LoadOn) == [LoadOn(ENTRY.spec())]


def test_what_cannot_be_loaded_is_refused_at_once(scene: Scene) -> None:
    for model, code in (
        ("gpt-4", FailureCode.MODEL_NOT_FOUND),
        ("m", FailureCode.MODEL_UNAVAILABLE),
    ):
        scene.ensure(model)
        assert scene.load(model).failure().code == code
        assert [
            finished.failure and finished.failure.code
            for finished in (scene.router.heard(LoadFinished))
        ] == [code]


def test_a_neuron_that_reconnects_is_tried_later(scene: Scene) -> None:
    scene.join("n1")
    del scene.actors["neuron/n1"]
    failure = scene.load().failure()

    assert failure.code == FailureCode.LINK_LOST
    assert failure.retry_after_s


def test_an_unload_is_answered_when_every_neuron_has_unloaded(scene: Scene) -> None:
    holders = [scene.join(name, model_state("m", neuron=name)) for name in ("n1", "n2")]
    scene.join("n3")
    first, second = scene.unload("alias"), scene.unload()
    assert [holder.heard(UnloadOn) for holder in holders] == [[UnloadOn("m")]] * 2

    scene.unload_ends(holders[0], Completed(ModelUnloaded("m")))
    assert first.answers == []
    scene.unload_ends(holders[1], Completed(ModelUnloaded("m")))
    assert first.answer() == second.answer() == ModelUnloaded("m")


def test_an_unload_that_one_neuron_refuses_has_failed(scene: Scene) -> None:
    holders = [scene.join(name, model_state("m", neuron=name)) for name in ("n1", "n2")]
    asked = scene.unload()
    scene.unload_ends(holders[0], Failed(REFUSED))
    scene.unload_ends(holders[1], Completed(ModelUnloaded("m")))

    assert asked.failure() == REFUSED


def test_an_unload_that_never_reached_its_neuron_is_answered(scene: Scene) -> None:
    holder = scene.join("n1", model_state("m"))
    asked = scene.unload()
    scene.lose(holder)

    assert asked.failure().code == FailureCode.LINK_LOST
    assert scene.unload().failure().code == FailureCode.MODEL_NOT_FOUND


def test_a_pin_is_noted_and_outlives_the_actor(start: Start, scene: Scene) -> None:
    notes = StateBoard(PlacementNotes())
    catalogue = Catalogue(models=(ENTRY,))

    def placement() -> ActorRef:
        board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        publisher = scene.publisher.ref
        return start(Placement, catalogue, board, publisher, scene._find, notes=notes)

    first, request = placement(), FakeRequest(PinModel("m"))
    first.notify(Pin("m", True, request))
    settle(first)
    assert request.answer() == ModelPinned("m", True)
    assert notes.read().pins == {"m"}
    first.stop()
    assert first.exit.wait(5.0)

    second, request = placement(), FakeRequest(PinModel("m", False))
    settle(second)
    assert notes.read().pins == {"m"}
    second.notify(Pin("m", False, request))
    settle(second)
    assert notes.read().pins == frozenset()


def test_a_pin_of_the_catalogue_is_there_from_the_start_and_goes_when_the_catalogue_changes(
    start: Start, scene: Scene
) -> None:
    def catalogue(*pinned: str) -> Catalogue:
        entries = (
            CatalogueEntry(id=each, source="file:///x", pinned=each in pinned) for each in "abc"
        )
        return Catalogue(models=tuple(entries))

    first = catalogue("a", "b")
    notes = StateBoard(PlacementNotes(first.pinned()))
    board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
    ref = start(Placement, first, board, scene.publisher.ref, scene._find, notes=notes)

    def after(*messages: object) -> set[str]:
        for message in messages:
            ref.notify(message)
        settle(ref)
        return set(notes.read().pins)

    assert after() == {"a", "b"}
    pins = (Pin("a", False, FakeRequest(PinModel("a"))), Pin("c", True, FakeRequest(PinModel("c"))))
    assert after(*pins) == {"b", "c"}
    assert after(CatalogueChanged(catalogue("a", "b"))) == {"b", "c"}
    assert after(CatalogueChanged(catalogue("a"))) == {"c"}
    assert after(CatalogueChanged(catalogue("a", "b"))) == {"b", "c"}


def test_only_models_of_the_catalogue_are_pinned_or_planned(scene: Scene) -> None:
    for message in (Pin, Plan):
        request = FakeRequest(PlanLoad("no"))
        scene.placement.notify(Pin("no", True, request) if message is Pin else Plan("no", request))
        settle(scene.placement)
        assert request.failure().code == FailureCode.MODEL_NOT_FOUND
