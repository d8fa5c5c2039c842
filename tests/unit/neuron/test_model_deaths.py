"""When a Model gives up: by what its processes have died of, not only by how often in how long."""

from __future__ import annotations

import pytest

from cortex_actors.kit.reasons import ExitKind, ExitReason
from cortex_actors.neuron.messages import (
    EngineEnded,
    EngineRefused,
    EpochBroken,
    EpochEnded,
    ModelChanged,
)
from tests.unit.kit.conftest import Start
from tests.unit.neuron.test_model import RESTARTS, Scene
from tests.unit.serving.doubles import SOON_S
from transports.failures import FailureCode
from transports.schemas.link import Failure


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


@pytest.mark.parametrize("served", [False, True], ids=["first load", "recovery"])
def test_loads_that_fail_one_after_the_other_end_it_however_long_each_takes(
    scene: Scene, served: bool
) -> None:
    for _ in range(RESTARTS):
        scene.tell(EpochEnded(1, "shutdown"))
    if served:
        scene.be_ready()
        for _ in range(RESTARTS):
            assert scene.tell(EpochEnded(1, "shutdown")).state.state == "recovering"
    broken = EpochBroken(1, FailureCode.WORKER_DIED, "rank 0 died (killed by SIGKILL)")
    scene.model.notify(broken)
    scene.model.notify(EpochEnded(1, "crash"))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert last.failure is not None
    assert last.failure.code == FailureCode.WORKER_DIED
    assert last.state.error.endswith("the last time: rank 0 died (killed by SIGKILL)")
    assert scene.processes.stops >= 1


def test_an_engine_that_cannot_begin_fails_the_model_at_once(scene: Scene) -> None:
    reason = ExitReason(ExitKind.INIT_FAILED, "exit 78: has a configuration error")
    scene.model.notify(EngineEnded(str(reason), hopeless=True))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    text = "model 'm' failed: engine: init_failed(exit 78: has a configuration error)"
    assert last.failure == Failure(FailureCode.LOAD_FAILED, text)


def test_a_preparation_that_was_dead_at_once_has_a_reason_all_the_same(start: Start) -> None:
    scene = Scene(start, cached=None, dead=ExitReason.init_failed(OSError("no fork")))

    assert scene.model.exit.wait(SOON_S)
    assert scene.models.heard(ModelChanged)[-1].state.error == (
        "model 'm' failed: preparation: init_failed(OSError: no fork)"
    )


def test_processes_that_were_dead_at_once_have_a_reason_all_the_same(start: Start) -> None:
    scene = Scene(start, dead=ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    assert "the last time: crash(gave up)" in scene.models.heard(ModelChanged)[-1].state.error


def test_an_engine_that_once_served_is_left_to_its_supervisor(scene: Scene) -> None:
    scene.be_ready()

    assert scene.tell(EngineEnded("init_failed", hopeless=True)).state.state == "recovering"


def test_an_engine_that_cannot_serve_the_files_fails_the_model_at_once(scene: Scene) -> None:
    scene.model.notify(EngineRefused(Failure(FailureCode.SOURCE_CORRUPT, "no tokenizer.json")))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert last.failure == Failure(
        FailureCode.SOURCE_CORRUPT, "model 'm' failed: no tokenizer.json"
    )
    assert scene.processes.stops >= 1


def test_files_that_are_gone_while_a_model_recovers_are_asked_for_again(scene: Scene) -> None:
    scene.be_ready()
    refused = EngineRefused(Failure(FailureCode.SOURCE_CORRUPT, "no tokenizer.json"))
    gone = EpochEnded(1, "shutdown")
    scene.tell(EngineEnded("killed"), gone, refused, EngineEnded("init_failed(exit 78)"), gone)
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    error = scene.models.heard(ModelChanged)[-1].state.error
    assert error.endswith(
        "ended 2 times and are not started again; the last time: no tokenizer.json"
    )


def test_an_engine_that_never_comes_up_is_counted(scene: Scene) -> None:
    scene.tell(*[EngineEnded("killed(SIGKILL)")] * 6)
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    assert "ended 6 times and" in scene.models.heard(ModelChanged)[-1].state.error
