"""The Model actor, with processes that are only pretended."""

from __future__ import annotations

from pathlib import Path

import pytest

from cortex_actors.kit.reasons import ExitKind, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import (
    DeviceLost,
    DrainAsked,
    Drained,
    EngineEnded,
    EngineRefused,
    EngineUp,
    EpochBroken,
    EpochEnded,
    EpochReady,
    ModelChanged,
    PreparationEnded,
    PreparationProgressed,
    Unload,
)
from cortex_actors.neuron.model import Model, Placement
from cortex_actors.serving.messages import DrainStarted
from neuron_runtime.geometry import PlacementError
from neuron_runtime.model_errors import ModelFilesError, SourceNotFound
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import SOON_S, Audience, Recorder, settle
from transports.failures import FailureCode
from transports.schemas.daemon import EngineLoad, GroupReady
from transports.schemas.fleet import ModelSpec
from transports.schemas.link import Failure

ENGINE = "tcp://127.0.0.1:9"
READY = EpochReady(GroupReady(1, 0.5, 0))


class Processes:
    """Actors that record stand for preparation, engine and tree."""

    def __init__(self, start: Start, cached: Path | ModelFilesError | None) -> None:
        self._start = start
        self._cached = cached
        self.tree: ActorRef | None = None
        self.preparation: ActorRef | None = None
        self.engine: ActorRef | None = None
        self.started: list[Path] = []
        self.stops = 0
        self.misfit: PlacementError | None = None

    def cached(self) -> Path | None:
        if isinstance(self._cached, ModelFilesError):
            raise self._cached
        return self._cached

    def check(self, model_dir: Path) -> None:
        if self.misfit is not None:
            raise self.misfit

    def start_preparation(self, model: ActorRef) -> ActorRef:
        self.preparation = self._start(Recorder, name="preparation")
        return self.preparation

    def start(self, model_dir: Path, model: ActorRef) -> ActorRef:
        self.started.append(model_dir)
        self.tree = self._start(Recorder, name="processes")
        self.engine = self._start(Recorder, name="engine")
        return self.tree

    def stop(self) -> None:
        self.stops += 1


class Scene:
    """A Model actor, its processes, and what it tells Models."""

    def __init__(
        self, start: Start, cached: Path | ModelFilesError | None = Path("/model")
    ) -> None:
        self.processes = Processes(start, cached)
        self.models = Audience(start(Recorder, name="models"))
        placement = Placement(
            ModelSpec("m", "file:///m.gguf", vram_mb=70),
            ("cpu:0", "cpu:1"),
            "local",
            drain_s=2.0,
        )
        self.model = start(Model, placement, self.models.ref, self.processes, name="model/m")
        self.model.ready.wait(SOON_S)

    def tell(self, *messages: object) -> ModelChanged:
        """Tell it and return what it announced last."""
        for message in messages:
            self.model.notify(message)
        settle(self.model)
        return self.models.heard(ModelChanged)[-1]

    def be_ready(self) -> ModelChanged:
        return self.tell(EngineUp(ENGINE), READY)


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def phases(changes: list[ModelChanged]) -> list[str]:
    return [change.state.state for change in changes]


def test_cached_files_are_started_from_at_once(scene: Scene) -> None:
    assert phases(scene.models.heard(ModelChanged)) == ["preparing", "starting"]
    assert scene.processes.started == [Path("/model")]

    ready = scene.be_ready().state
    assert (ready.state, ready.endpoint, ready.devices) == ("ready", ENGINE, ("cpu:0", "cpu:1"))
    assert (ready.progress, ready.restarts, ready.neuron) == (1.0, 0, "local")


def test_a_model_can_do_what_its_engine_says(scene: Scene) -> None:
    assert scene.tell(EngineUp(ENGINE, ("embeddings",)), READY).state.capabilities == (
        "embeddings",
    )


def test_what_a_model_takes_is_what_its_ranks_have_measured(scene: Scene) -> None:
    assert scene.tell(EngineUp(ENGINE)).state.memory_mb == 70

    measured = GroupReady(1, 0.5, weight_bytes=3 << 20, kv_bytes=(2 << 20) + 1)
    assert scene.tell(EpochReady(measured)).state.memory_mb == 6


def test_files_are_prepared_first_when_they_must_be(start: Start) -> None:
    scene = Scene(start, cached=None)
    assert scene.tell(PreparationProgressed(0.5)).state.progress == 0.5
    assert scene.processes.started == []

    assert scene.tell(PreparationEnded("/converted", None)).state.state == "starting"
    assert scene.processes.started == [Path("/converted")]


def test_the_end_of_a_preparation_that_has_succeeded_is_no_failure(start: Start) -> None:
    scene = Scene(start, cached=None)
    scene.tell(PreparationEnded("/converted", None))
    assert scene.processes.preparation is not None
    scene.processes.preparation.stop()
    assert scene.processes.preparation.exit.wait(SOON_S)

    assert scene.be_ready().state.state == "ready"


def test_a_preparation_that_dies_without_a_word_fails_the_model(start: Start) -> None:
    scene = Scene(start, cached=None)
    assert scene.processes.preparation is not None
    scene.processes.preparation.stop(ExitReason.init_failed(OSError("no fork")))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert last.state.state == "failed"
    assert "no fork" in last.state.error


@pytest.mark.parametrize("cached", [None, SourceNotFound("m.gguf is gone")])
def test_a_failure_is_announced_with_its_reason_when_all_has_ended(
    start: Start, cached: ModelFilesError | None
) -> None:
    scene = Scene(start, cached=cached)
    failure = Failure(FailureCode.SOURCE_NOT_FOUND, "m.gguf is gone")
    scene.model.notify(PreparationEnded("", failure))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert (last.state.state, last.state.error) == ("failed", "m.gguf is gone")
    assert last.failure == failure
    assert scene.processes.stops >= 1


def test_a_model_that_does_not_divide_fails_before_any_process_is_started(start: Start) -> None:
    scene = Scene(start, cached=None)
    scene.processes.misfit = PlacementError("9 heads among 2; possible are 1, 3")
    scene.model.notify(PreparationEnded("/converted", None))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    text = "model 'm' failed: 9 heads among 2; possible are 1, 3"
    assert last.failure == Failure(FailureCode.LOAD_FAILED, text)
    assert scene.processes.started == []


def test_a_device_that_vanishes_fails_the_model_and_ends_its_processes(scene: Scene) -> None:
    scene.be_ready()
    scene.model.notify(DeviceLost(1, "cpu:1"))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    text = "model 'm' failed: rank 1 had cpu:1, which is gone"
    assert (last.state.state, last.state.error) == ("failed", text)
    assert last.failure == Failure(FailureCode.DEVICE_LOST, text)
    assert scene.processes.stops >= 1


def test_what_breaks_before_it_ever_worked_fails_at_once(scene: Scene) -> None:
    scene.model.notify(EpochBroken(1, FailureCode.LOAD_FAILED, "12 heads on 5 ranks"))
    scene.model.notify(EngineEnded("shutdown"))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert last.failure == Failure(FailureCode.LOAD_FAILED, "model 'm' failed: 12 heads on 5 ranks")
    assert "12 heads" in last.state.error


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


def test_a_rank_that_dies_while_starting_is_left_to_its_supervisor(scene: Scene) -> None:
    broken = EpochBroken(1, FailureCode.WORKER_DIED, "rank 1 was killed")
    scene.tell(broken, EpochEnded(1, "crash"))
    assert scene.processes.stops == 0

    assert scene.be_ready().state.state == "ready"


def test_a_broken_group_recovers_and_is_counted(scene: Scene) -> None:
    scene.be_ready()
    broken = EpochBroken(1, FailureCode.STEP_FAILED, "out of memory")
    assert scene.tell(broken, EpochEnded(1, "crash")).state.state == "recovering"

    ready = scene.tell(READY).state
    assert (ready.state, ready.restarts) == ("ready", 1)


def test_a_dead_engine_is_routed_around_until_the_next_is_ready(scene: Scene) -> None:
    scene.be_ready()
    gone = scene.tell(EngineEnded("killed"), EpochEnded(1, "shutdown")).state
    assert (gone.state, gone.endpoint) == ("recovering", "")

    assert scene.tell(EngineUp("tcp://127.0.0.1:10")).state.state == "recovering"
    assert scene.tell(READY).state.state == "ready"


def test_supervisors_that_give_up_fail_the_model_with_the_last_cause(scene: Scene) -> None:
    scene.tell(EpochBroken(1, FailureCode.WORKER_DIED, "rank 1 was killed"))
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    last = scene.models.heard(ModelChanged)[-1]
    assert last.failure is not None
    assert last.failure.code == FailureCode.WORKER_DIED
    assert "rank 1 was killed" in last.failure.message


def test_a_model_that_dies_as_soon_as_it_is_loaded_says_how_often_and_how(scene: Scene) -> None:
    for code in ("exit 70", "killed by SIGSEGV", "killed by SIGKILL"):
        scene.be_ready()
        broken = EpochBroken(1, FailureCode.WORKER_DIED, f"rank 0 died ({code})")
        scene.tell(broken, EpochEnded(1, "crash"))
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    assert scene.models.heard(ModelChanged)[-1].state.error == (
        "model 'm' failed: its processes ended 3 times and are not started again;"
        " the last time: rank 0 died (killed by SIGKILL)"
    )


def test_an_engine_that_dies_each_time_is_named(scene: Scene) -> None:
    scene.be_ready()
    scene.tell(EngineEnded("killed(SIGKILL)"), EpochEnded(1, "shutdown"), EngineEnded("shutdown"))
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("gave up"))

    assert scene.model.exit.wait(SOON_S)
    error = scene.models.heard(ModelChanged)[-1].state.error
    assert "ended once and are not started again" in error
    assert error.endswith("the last time: engine: killed(SIGKILL)")


def test_a_cause_that_has_been_overcome_is_not_named_later(scene: Scene) -> None:
    scene.tell(EpochBroken(1, FailureCode.WORKER_DIED, "rank 1 was killed"))
    scene.be_ready()
    assert scene.processes.tree is not None
    scene.processes.tree.stop(ExitReason.crash("engine gave up"))

    assert scene.model.exit.wait(SOON_S)
    assert "engine gave up" in scene.models.heard(ModelChanged)[-1].state.error


def test_unloading_drains_first_and_leaves_nothing(scene: Scene) -> None:
    scene.be_ready()
    assert scene.processes.engine is not None
    engine = Audience(scene.processes.engine)
    assert scene.tell(Unload(), Unload()).state.state == "unloading"
    assert engine.heard(DrainAsked) == [DrainAsked(2.0)]
    assert scene.processes.stops == 0

    scene.model.notify(Drained())
    assert scene.model.exit.wait(SOON_S)
    assert not scene.model.exit.result().abnormal
    assert scene.models.heard(ModelChanged)[-1].state.state == "unloaded"
    assert scene.processes.stops >= 1


@pytest.mark.parametrize("cached", [None, Path("/model")])
def test_what_does_not_serve_yet_is_unloaded_at_once(start: Start, cached: Path | None) -> None:
    scene = Scene(start, cached=cached)
    scene.model.notify(Unload())

    assert scene.model.exit.wait(SOON_S)
    assert scene.models.heard(ModelChanged)[-1].state.state == "unloaded"


def test_an_engine_that_is_gone_is_not_waited_for(scene: Scene) -> None:
    scene.be_ready()
    scene.processes.engine = None
    scene.model.notify(Unload())

    assert scene.model.exit.wait(SOON_S)
    assert scene.models.heard(ModelChanged)[-1].state.state == "unloaded"


def test_the_engines_load_is_passed_on(scene: Scene) -> None:
    scene.be_ready()
    state = scene.tell(EngineLoad(running=2, waiting=3, capacity=8, context_length=2048)).state

    assert (state.running, state.waiting, state.capacity, state.context_length) == (2, 3, 8, 2048)
    assert scene.model.summary() == "ready on cpu:0+cpu:1 running=2 waiting=3"


def test_a_stopped_model_stops_its_processes(scene: Scene) -> None:
    scene.model.stop()

    assert scene.model.exit.wait(SOON_S)
    assert scene.processes.stops == 1


def test_a_model_that_serves_drains_before_it_stops(scene: Scene) -> None:
    scene.be_ready()
    assert scene.processes.engine is not None
    engine = Audience(scene.processes.engine)

    scene.model.stop()
    assert engine.next(DrainAsked) == DrainAsked(2.0)
    assert not scene.model.exit.done

    scene.model.notify(Drained())
    assert scene.model.exit.get(timeout=SOON_S).kind == ExitKind.SHUTDOWN


def test_a_model_that_was_drained_early_stops_at_once(scene: Scene) -> None:
    scene.be_ready()
    assert scene.processes.engine is not None
    engine = Audience(scene.processes.engine)
    scene.model.notify(DrainStarted())
    engine.next(DrainAsked)
    scene.model.notify(Drained())

    scene.model.stop()

    assert scene.model.exit.get(timeout=SOON_S).kind == ExitKind.SHUTDOWN
    assert engine.heard(DrainAsked) == []
