"""The Models actor and its warm tier: who sleeps, who is woken, who must be loaded anew."""

from __future__ import annotations

import msgspec
import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.neuron.device_table import Placed
from cortex_actors.neuron.messages import (
    DevicesMeasured,
    LoadAsked,
    ModelChanged,
    Renew,
    RenewAsked,
    Unload,
    UnloadAsked,
    Wake,
)
from cortex_actors.serving.messages import EnsureLoaded, LoadFinished
from tests.unit.kit.conftest import Start
from tests.unit.neuron.test_models import OTHER, SMALL, Scene
from tests.unit.serving.doubles import Audience, FakeRequest, model_state, settle
from transports.failures import FailureCode
from transports.schemas.fleet import DeviceState, LoadModel, ModelLoaded, ModelUnloaded, UnloadModel

BUDGET_MB, WEIGHTS_MB = 500, 300


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start, warm_mb=BUDGET_MB)


def become(scene: Scene, state: str, model: str = "small", *, warm: bool = False) -> None:
    shown = model_state(model, state, devices=("cpu:0",))
    scene.models.notify(ModelChanged(shown, None, warm, WEIGHTS_MB))
    settle(scene.models)


def unload(scene: Scene, model: str = "small", *, keep_warm: bool = True) -> FakeRequest:
    request = FakeRequest(UnloadModel(model, keep_warm))
    scene.models.notify(UnloadAsked(model, request, keep_warm))
    settle(scene.models)
    return request


def serve(scene: Scene, entry: CatalogueEntry = SMALL) -> Audience:
    scene.load(entry)
    become(scene, "ready", entry.id)
    return scene.actors[-1]


def sleep(scene: Scene, entry: CatalogueEntry = SMALL) -> Audience:
    """Have the model serve and fall asleep; returns its actor."""
    actor = serve(scene, entry)
    request = unload(scene, entry.id)
    assert actor.next(Unload) == Unload(keep_warm=True)
    become(scene, "unloading", entry.id)
    assert request.answers == []
    become(scene, "asleep", entry.id, warm=True)
    assert request.answer() == ModelUnloaded(entry.id)
    return actor


def end(scene: Scene, actor: Audience) -> None:
    actor.ref.stop()
    assert actor.ref.exit.wait(5.0)
    settle(scene.models)


def test_a_sleeper_is_not_shown_and_its_devices_are_others(scene: Scene) -> None:
    sleep(scene)
    assert (scene.shown, scene.warm) == ({}, {"small": WEIGHTS_MB})

    scene.load(OTHER)
    assert scene.placed[-1] == Placed("other", ("cpu:0",), 600)


def test_the_next_load_wakes_it_for_all_who_wait(scene: Scene) -> None:
    actor = sleep(scene)
    scene.clock.advance(60.0)
    asked = [scene.load(), scene.load()]
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    settle(scene.models)
    assert actor.heard(Wake) == [Wake()]
    assert (scene.shown, scene.warm) == ({"small": "starting"}, {"small": WEIGHTS_MB})
    # What it said before it heard of that.
    become(scene, "asleep", warm=True)
    assert scene.shown == {"small": "starting"}
    scene.clock.advance(0.5)
    become(scene, "ready")

    assert [request.answer() for request in asked] == [ModelLoaded("small", 0.5)] * 2
    assert scene.router.heard(LoadFinished) == [LoadFinished("small", None)]
    assert (len(scene.placed), scene.warm) == (1, {})
    # Its memory is its own again.
    assert scene.load(OTHER).failure().code == FailureCode.INSUFFICIENT_DEVICES


def test_a_renewal_ends_sleepers_and_has_those_that_serve_look_whether_they_are_idle(
    scene: Scene,
) -> None:
    asleep, serves = sleep(scene), serve(scene, OTHER)
    scene.models.notify(RenewAsked())
    settle(scene.models)

    assert asleep.next(Unload) == Unload()
    assert asleep.heard(Renew) == []
    assert serves.heard(Renew) == [Renew()]


def test_what_cannot_wake_as_it_was_is_ended_and_loaded_anew(scene: Scene) -> None:
    actor = sleep(scene)
    spec = msgspec.structs.replace(SMALL.spec(), quant="int8")
    asked = FakeRequest(LoadModel(spec))
    scene.models.notify(LoadAsked(spec, asked))
    settle(scene.models)
    assert actor.heard(Unload | Wake) == [Unload()]  # type: ignore[arg-type]
    assert (scene.shown, scene.warm) == ({"small": "preparing"}, {})
    for state in ("unloading", "unloaded"):
        become(scene, state)
        assert scene.shown == {"small": "preparing"}
    end(scene, actor)
    become(scene, "ready")

    assert asked.answer() == ModelLoaded("small", 0.0)
    assert len(scene.placed) == 2


def test_one_whose_devices_have_no_room_is_ended_and_then_refused(scene: Scene) -> None:
    actor = sleep(scene)
    serve(scene, OTHER)
    asked = scene.load()
    assert actor.next(Unload) == Unload()
    end(scene, actor)

    assert asked.failure().code == FailureCode.INSUFFICIENT_DEVICES
    assert scene.shown == {"other": "ready"}


def test_a_sleeper_that_is_gone_when_it_is_to_wake_is_loaded_anew(scene: Scene) -> None:
    actor = sleep(scene)
    asked = scene.load()
    end(scene, actor)
    assert scene.shown == {"small": "preparing"}
    become(scene, "ready")

    assert asked.answer() == ModelLoaded("small", 0.0)
    assert (len(scene.placed), scene.actors[-1] is actor) == (2, False)


def test_a_wake_that_nobody_waits_for_any_more_ends(scene: Scene) -> None:
    actor = sleep(scene)
    scene.load().cancel()
    assert actor.next(Unload) == Unload()
    end(scene, actor)

    assert (scene.shown, len(scene.placed)) == ({}, 1)


def test_one_that_is_unloaded_as_it_wakes_is_not_loaded_anew(scene: Scene) -> None:
    actor = sleep(scene)
    asked = scene.load()
    request = unload(scene, keep_warm=False)
    become(scene, "unloading")
    end(scene, actor)

    assert request.answer() == ModelUnloaded("small")
    assert asked.failure().code == FailureCode.MODEL_UNAVAILABLE
    assert scene.shown == {}


def test_the_longest_asleep_is_ended_when_the_budget_is_short(scene: Scene) -> None:
    first = sleep(scene)
    second = sleep(scene, OTHER)
    assert first.next(Unload) == Unload()
    become(scene, "unloading")
    # It has held no device for long: nobody need wait for its end.
    assert (scene.shown, scene.warm) == ({}, {"other": WEIGHTS_MB})
    end(scene, first)

    assert scene.warm == {"other": WEIGHTS_MB}
    assert second.heard(Unload) == []


def test_what_is_unloaded_for_good_or_too_large_does_not_sleep(start: Start) -> None:
    scene = Scene(start, warm_mb=WEIGHTS_MB - 1)
    actor = serve(scene)
    unload(scene)
    assert actor.next(Unload) == Unload(keep_warm=False)

    end(scene, actor)
    assert (scene.shown, scene.warm) == ({}, {})


def test_a_sleeper_is_unloaded_for_good_when_it_is_gone_and_to_rest_at_once(scene: Scene) -> None:
    actor = sleep(scene)
    assert unload(scene).answer() == ModelUnloaded("small")
    request = unload(scene, keep_warm=False)
    assert actor.heard(Unload) == [Unload()]
    assert request.answers == []
    end(scene, actor)

    assert request.answer() == ModelUnloaded("small")
    assert scene.warm == {}


def test_two_who_want_it_to_rest_do_not_end_it(scene: Scene) -> None:
    actor = serve(scene)
    requests = [unload(scene)]
    become(scene, "unloading")
    requests.append(unload(scene))
    assert actor.heard(Unload) == [Unload(keep_warm=True)]
    become(scene, "asleep", warm=True)

    assert [request.answer() for request in requests] == [ModelUnloaded("small")] * 2
    assert scene.warm == {"small": WEIGHTS_MB}


def test_a_sleeper_that_dies_is_no_longer_warm(scene: Scene) -> None:
    end(scene, sleep(scene))

    assert (scene.shown, scene.warm) == ({}, {})
    assert scene.load().answers == []
    assert len(scene.placed) == 2


@pytest.mark.parametrize(("free_mb", "ended"), [(901, False), (800, True)])
def test_sleepers_go_when_device_memory_has_not_come_back(
    scene: Scene, free_mb: int, ended: bool
) -> None:
    actor = sleep(scene)
    device = DeviceState("cpu:0", "cuda", "as if a GPU", 1000, free_mb)
    actor.heard(Unload)
    scene.models.notify(DevicesMeasured((device,)))
    settle(scene.models)
    assert actor.heard(Unload) == []
    scene.models.notify(DevicesMeasured((device,)))
    settle(scene.models)

    assert (Unload() in actor.heard(Unload)) is ended


def test_a_sleeper_whose_device_has_vanished_is_ended(scene: Scene) -> None:
    actor = sleep(scene)
    scene.models.notify(DevicesMeasured(()))
    settle(scene.models)

    assert Unload() in actor.heard(Unload)
