"""A model's processes are started anew while nothing runs in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortex_actors.kit.reasons import SHUTDOWN
from cortex_actors.neuron.messages import (
    DrainAsked,
    Drained,
    EngineEnded,
    EngineUp,
    EpochEnded,
    ModelChanged,
    Renew,
    Unload,
)
from cortex_actors.serving.messages import DrainStarted
from tests.unit.kit.conftest import Start
from tests.unit.neuron.test_model import ENGINE, READY, Scene
from tests.unit.serving.doubles import SOON_S, Audience, settle
from transports.schemas.daemon import EngineLoad

ANOTHER = "tcp://127.0.0.1:10"


@pytest.fixture
def scene(start: Start) -> Scene:
    scene = Scene(start)
    scene.be_ready()
    return scene


def engine(scene: Scene) -> Audience:
    assert scene.processes.engine is not None
    return Audience(scene.processes.engine)


def test_an_idle_model_is_drained_and_started_anew_on_its_devices(scene: Scene) -> None:
    old = engine(scene)
    state = scene.tell(Renew()).state
    assert (state.state, state.devices) == ("recovering", ("cpu:0", "cpu:1"))
    assert old.heard(DrainAsked) == [DrainAsked(2.0, 1)]
    assert len(scene.processes.started) == 1

    scene.tell(Drained(1))
    assert scene.processes.started == [Path("/model")] * 2
    # What the old processes said when they ended.
    state = scene.tell(EngineEnded(str(SHUTDOWN)), EpochEnded(1, "shutdown")).state
    assert (state.state, state.endpoint) == ("recovering", "")
    state = scene.tell(EngineUp(ANOTHER), READY).state
    assert (state.state, state.endpoint, state.restarts) == ("ready", ANOTHER, 1)


def test_it_can_be_renewed_and_unloaded_again(scene: Scene) -> None:
    for number in (1, 2):
        scene.tell(Renew(), Drained(number), EngineUp(ENGINE), READY)
    assert len(scene.processes.started) == 3
    assert scene.tell(Unload()).state.state == "unloading"
    scene.model.notify(Drained(3))
    assert scene.model.exit.wait(SOON_S)
    assert scene.models.heard(ModelChanged)[-1].state.state == "unloaded"


@pytest.mark.parametrize("load", [EngineLoad(1, 0, 4, 9), EngineLoad(0, 1, 4, 9)])
def test_a_busy_model_is_left_alone(scene: Scene, load: EngineLoad) -> None:
    assert scene.tell(load, Renew()).state.state == "ready"
    assert engine(scene).heard(DrainAsked) == []


def test_one_that_does_not_serve_yet_is_left_alone(start: Start) -> None:
    scene = Scene(start)
    scene.model.notify(Renew())
    settle(scene.model)
    assert [each.state.state for each in scene.models.heard(ModelChanged)][-1] == "starting"
    assert len(scene.processes.started) == 1


def test_one_that_is_unloaded_meanwhile_is_not_started_anew(scene: Scene) -> None:
    scene.tell(Renew(), Unload())
    scene.model.notify(Drained(1))
    assert scene.model.exit.wait(SOON_S)
    assert len(scene.processes.started) == 1


def test_one_whose_neuron_shuts_down_meanwhile_is_not_started_anew(scene: Scene) -> None:
    scene.tell(Renew())
    scene.model.notify(DrainStarted())
    scene.model.notify(Drained(1))
    settle(scene.model)
    assert len(scene.processes.started) == 1


def test_nothing_is_renewed_in_a_neuron_that_shuts_down(scene: Scene) -> None:
    scene.model.notify(DrainStarted())
    scene.model.notify(Renew())
    scene.model.notify(Drained(1))
    settle(scene.model)
    assert len(scene.processes.started) == 1
    assert scene.tell(EngineLoad(0, 0, 4, 9)).state.state == "ready"
