"""A model that cannot be loaded anywhere now: come back later, or never (F03, H01, H02)."""

from __future__ import annotations

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.placement_effects import Loaded, StartLoad
from cortex_actors.gateway.placement_machine import PlacementMachine
from tests.unit.serving.doubles import neuron_state
from transports.failures import FailureCode
from transports.schemas.link import Failure

CATALOGUE = Catalogue(
    models=(
        CatalogueEntry(id="small", source="file:///s.gguf"),
        CatalogueEntry(id="here", source="file:///h.gguf", pinned_on=("n2",)),
        CatalogueEntry(id="wide", source="file:///w.gguf", vram_mb=3000, min_devices=2),
        CatalogueEntry(id="huge", source="file:///g.gguf", vram_mb=2001),
    )
)


class Scene:
    """A gateway with two neurons in its configuration; each has one device of 2000 MB."""

    def __init__(self) -> None:
        self.machine = PlacementMachine(CATALOGUE)
        self.machine.fleet.expect(("n1", "n2"), 0.0)

    def connect(self, name: str, *free_mb: int) -> None:
        state = neuron_state(name, free_mb=free_mb or (2000,))
        self.machine.reported(state, {"n1": 1, "n2": 2}[name], 1.0)

    def refusal(self, model: str) -> Failure:
        (loaded,) = self.machine.want(model, "w", 2.0)
        assert isinstance(loaded, Loaded), loaded
        assert loaded.failure is not None
        assert self.machine.jobs() == {}
        return loaded.failure


def test_before_any_neuron_has_answered_everything_is_for_later() -> None:
    """F03."""
    scene = Scene()
    for model in ("small", "wide"):
        failure = scene.refusal(model)
        assert (failure.code, failure.retry_after_s) == (FailureCode.MODEL_UNAVAILABLE, 5.0)
        assert "n1: it has not answered yet; n2: it has not answered yet" in failure.message


def test_a_neuron_that_has_not_answered_yet_may_have_room() -> None:
    """H01: also for a model that is pinned there, or that no neuron of those known could hold."""
    scene = Scene()
    scene.connect("n1")
    for model in ("here", "wide", "huge"):
        failure = scene.refusal(model)
        assert (failure.code, failure.retry_after_s) == (FailureCode.MODEL_UNAVAILABLE, 3.0)
        assert "n2: it has not answered yet" in failure.message
        assert "n1" not in failure.message
    assert isinstance(scene.machine.want("small", "w", 2.0)[0], StartLoad)


def test_a_neuron_that_could_and_is_lost_is_waited_for() -> None:
    """H01."""
    scene = Scene()
    scene.connect("n1")
    scene.connect("n2", 2000, 2000)
    scene.machine.lost("n2", 2, 1.5)
    for model in ("here", "wide"):
        failure = scene.refusal(model)
        assert (failure.code, failure.retry_after_s) == (FailureCode.MODEL_UNAVAILABLE, 3.0)
        assert "n2: it is not connected" in failure.message


def test_a_fleet_whose_every_neuron_is_known_to_be_too_small_never_holds_it() -> None:
    """H02: nobody is told to come back for what cannot be."""
    scene = Scene()
    scene.connect("n1")
    scene.connect("n2")
    scene.machine.lost("n2", 2, 1.5)
    for model, needs in (("wide", "2 device(s)"), ("huge", "2001 MB")):
        failure = scene.refusal(model)
        assert (failure.code, failure.retry_after_s) == (FailureCode.INSUFFICIENT_DEVICES, None)
        assert needs in failure.message


def test_without_any_neuron_in_its_configuration_a_gateway_says_so() -> None:
    (loaded,) = PlacementMachine(CATALOGUE).want("small", "w", 0.0)
    assert isinstance(loaded, Loaded)
    assert loaded.failure is not None
    assert loaded.failure.message == "no neuron is connected"
    assert loaded.failure.retry_after_s == 5.0


def test_neurons_that_never_came_leave_no_doubt_about_those_that_did() -> None:
    scene = Scene()
    scene.machine.fleet.expect(("n3", "n4", "n5", "n6"), 0.0)
    for connection, name in enumerate(("n1", "n2", "n3"), 1):
        scene.machine.reported(neuron_state(name), connection, 1.0)
    for connection, name in enumerate(("n1", "n2"), 1):
        scene.machine.lost(name, connection, 2.0)
    assert scene.machine.fleet.doubtful
