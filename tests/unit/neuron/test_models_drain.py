"""The Models actor of a neuron that is shutting down: who waits, waits elsewhere."""

from __future__ import annotations

import pytest

from cortex_actors.neuron.messages import UnloadAsked
from cortex_actors.serving.messages import DrainStarted, EnsureLoaded, LoadFinished
from tests.unit.kit.conftest import Start
from tests.unit.neuron.test_models import OTHER, Scene
from tests.unit.serving.doubles import FakeRequest, settle
from transports.failures import FailureCode
from transports.schemas.fleet import ModelUnloaded, UnloadModel


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def drain(scene: Scene) -> None:
    scene.models.notify(DrainStarted())
    settle(scene.models)


@pytest.mark.parametrize("state", ["preparing", "ready"])
def test_nothing_is_loaded_any_more_not_even_what_is_there(scene: Scene, state: str) -> None:
    scene.load()
    scene.become(state)
    drain(scene)
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    finished = scene.router.next(LoadFinished)

    for failure in (scene.load().failure(), scene.load(OTHER).failure(), finished.failure):
        assert failure is not None
        assert failure.code == FailureCode.SHUTTING_DOWN
    assert len(scene.placed) == 1


def test_who_waits_for_a_load_is_told_at_once_and_may_go_elsewhere(scene: Scene) -> None:
    asked = scene.load()
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    drain(scene)

    assert asked.failure().code == FailureCode.SHUTTING_DOWN
    told = scene.router.next(LoadFinished).failure
    assert told is not None
    assert told.code == FailureCode.SHUTTING_DOWN
    assert scene.actors[-1].next(DrainStarted) == DrainStarted()
    scene.become("ready")
    scene.end()
    assert len(asked.answers) == 1


def test_what_was_to_be_loaded_anew_is_not(scene: Scene) -> None:
    scene.load()
    scene.become("ready")
    drain(scene)
    unloading = FakeRequest(UnloadModel("small"))
    scene.models.notify(UnloadAsked("small", unloading))
    scene.end()

    assert unloading.answer() == ModelUnloaded("small")
    assert scene.load().failure().code == FailureCode.SHUTTING_DOWN
