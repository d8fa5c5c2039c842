"""A model that falls asleep, is woken, or loses a process on the way."""

from __future__ import annotations

import pytest

from cortex_actors.neuron.messages import (
    DrainAsked,
    Drained,
    EngineEnded,
    EpochAsleep,
    EpochBroken,
    EpochEnded,
    ModelChanged,
    SleepOverdue,
    Unload,
    Wake,
)
from cortex_actors.neuron.model import SLEEP_S, WAKE_S
from cortex_actors.serving.messages import DrainStarted
from tests.unit.kit.conftest import Start
from tests.unit.neuron.test_model import ENGINE, READY, Scene
from tests.unit.serving.doubles import SOON_S, Audience, settle
from transports.failures import FailureCode
from transports.schemas.daemon import GroupAsleep, SleepGroup, WakeGroup

ASLEEP = EpochAsleep(GroupAsleep(1))
DIED = EpochBroken(1, FailureCode.WORKER_DIED, "rank 1 was killed")


@pytest.fixture
def scene(start: Start) -> Scene:
    scene = Scene(start)
    scene.be_ready()
    return scene


@pytest.fixture
def engine(scene: Scene) -> Audience:
    assert scene.processes.engine is not None
    return Audience(scene.processes.engine)


def fall_asleep(scene: Scene, drain: int = 1) -> ModelChanged:
    return scene.tell(Unload(keep_warm=True), Drained(drain), ASLEEP)


def tell(scene: Scene, message: object) -> None:
    """Tell it what it need not announce anything after."""
    scene.model.notify(message)
    settle(scene.model)


def ended(scene: Scene) -> ModelChanged:
    """Wait for its end, with which all of its processes are gone."""
    assert scene.model.exit.wait(SOON_S)
    assert scene.processes.stops >= 1
    return scene.models.heard(ModelChanged)[-1]


def test_it_drains_sleeps_and_keeps_its_processes(scene: Scene, engine: Audience) -> None:
    unloading = scene.tell(Unload(keep_warm=True))
    assert (unloading.state.state, unloading.warm) == ("unloading", False)
    assert engine.heard(SleepGroup) == []
    tell(scene, Drained())
    assert engine.heard(SleepGroup) == [SleepGroup(1, SLEEP_S)]
    asleep = scene.tell(ASLEEP)

    assert (asleep.state.state, asleep.warm, asleep.weights_mb) == ("asleep", True, 70)
    assert (scene.processes.stops, scene.model.alive) == (0, True)


def test_it_wakes_with_the_epoch_that_it_slept_with_and_counts_no_restart(
    scene: Scene, engine: Audience
) -> None:
    fall_asleep(scene)
    waking = scene.tell(Wake())
    assert (waking.state.state, waking.warm) == ("starting", True)
    assert engine.heard(WakeGroup) == [WakeGroup(1, WAKE_S)]
    ready = scene.tell(READY)

    assert (ready.state.state, ready.warm, ready.state.restarts) == ("ready", False, 0)
    assert ready.state.endpoint == ENGINE


def test_every_unload_drains_anew_whatever_is_left_of_earlier_drains(
    scene: Scene, engine: Audience
) -> None:
    fall_asleep(scene)
    scene.tell(Wake(), READY, Drained(1))
    scene.tell(Unload(keep_warm=True), Drained(1), SleepOverdue(1))
    asked = engine.heard(object)
    assert [each for each in asked if isinstance(each, DrainAsked)] == [
        DrainAsked(2.0, 1),
        DrainAsked(2.0, 2),
    ]
    assert asked.count(SleepGroup(1, SLEEP_S)) == 1
    tell(scene, Drained(2))

    assert engine.heard(SleepGroup) == [SleepGroup(1, SLEEP_S)]
    assert scene.model.alive


@pytest.mark.parametrize("how", ["asleep", "falling asleep"])
def test_what_is_unloaded_for_good_goes_also_from_its_sleep(scene: Scene, how: str) -> None:
    if how == "asleep":
        fall_asleep(scene)
        scene.model.notify(Unload())
    else:
        scene.tell(Unload(keep_warm=True), Drained(), Unload())
        scene.model.notify(ASLEEP)

    last = ended(scene)
    assert (last.state.state, last.warm) == ("unloaded", False)


@pytest.mark.parametrize("death", [EpochEnded(1, "crash"), EngineEnded("killed")])
def test_a_sleeper_that_loses_a_process_is_gone(scene: Scene, death: object) -> None:
    fall_asleep(scene)
    scene.model.notify(death)

    assert ended(scene).state.state == "unloaded"


def test_a_process_that_dies_before_the_sleep_ends_the_model_at_the_end_of_its_drain(
    scene: Scene, engine: Audience
) -> None:
    scene.tell(Unload(keep_warm=True), DIED, EpochEnded(1, "crash"))
    assert scene.model.alive
    scene.model.notify(Drained())

    assert ended(scene).state.state == "unloaded"
    assert engine.heard(SleepGroup) == []


def test_supervisors_that_give_up_on_a_sleeper_end_it_without_a_failure(scene: Scene) -> None:
    fall_asleep(scene)
    assert scene.processes.tree is not None
    scene.processes.tree.stop()

    assert ended(scene).failure is None


def test_a_sleep_that_does_not_come_is_not_waited_for(scene: Scene) -> None:
    scene.tell(Unload(keep_warm=True), Drained())
    scene.model.notify(SleepOverdue(1))

    assert ended(scene).state.state == "unloaded"


@pytest.mark.parametrize(("left_mb", "kept"), [(3, True), (4, False)])
def test_one_that_does_not_give_its_device_back_is_ended(
    scene: Scene, left_mb: int, kept: bool
) -> None:
    scene.tell(Unload(keep_warm=True), Drained())
    scene.model.notify(EpochAsleep(GroupAsleep(1, left_mb << 20)))
    if kept:
        assert scene.tell().state.state == "asleep"
    else:
        assert ended(scene).state.state == "unloaded"


def test_a_wake_that_finds_no_room_is_followed_by_a_cold_start_which_may_fail(
    scene: Scene,
) -> None:
    fall_asleep(scene)
    refused = EpochBroken(1, FailureCode.OUT_OF_MEMORY, "no room")
    starting = scene.tell(Wake(), refused, EpochEnded(1, "crash"))
    assert (starting.state.state, starting.warm) == ("starting", False)
    scene.model.notify(EpochBroken(2, FailureCode.LOAD_FAILED, "still no room"))

    assert "still no room" in ended(scene).state.error


def test_what_does_not_serve_is_not_kept(start: Start) -> None:
    scene = Scene(start)
    scene.model.notify(Unload(keep_warm=True))

    assert ended(scene).state.state == "unloaded"


def test_a_stop_is_not_kept_waiting_by_a_sleep(scene: Scene) -> None:
    fall_asleep(scene)
    scene.model.notify(DrainStarted())
    scene.model.stop()

    assert scene.model.exit.wait(SOON_S)
    assert scene.processes.stops >= 1


def test_one_that_is_stopped_before_it_sleeps_goes_when_it_has_drained(
    scene: Scene, engine: Audience
) -> None:
    scene.tell(Unload(keep_warm=True))
    scene.model.stop()
    scene.model.notify(Drained())

    assert scene.model.exit.wait(SOON_S)
    assert engine.heard(SleepGroup) == []
