"""The Models actor: one load per model, whatever happens to it, and an answer to everyone."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.kit.asking import Future
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.reasons import NORMAL, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.device_table import DeviceTable, Placed
from cortex_actors.neuron.messages import (
    DeviceLost,
    DevicesMeasured,
    LoadAsked,
    ModelChanged,
    ModelsChanged,
    Unload,
    UnloadAsked,
)
from cortex_actors.neuron.models import RETRY_FAILED_AFTER_S, Models
from cortex_actors.serving.messages import EnsureLoaded, LoadFinished
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import Audience, FakeRequest, Recorder, model_state, settle
from transports.clock import ManualClock
from transports.failures import FailureCode
from transports.schemas.fleet import (
    DeviceState,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    ModelState,
    ModelUnloaded,
    UnloadModel,
)
from transports.schemas.link import Failure

SMALL = CatalogueEntry(id="small", source="file:///small.gguf", vram_mb=600)
OTHER = CatalogueEntry(id="other", source="file:///other.gguf", vram_mb=600)
BROKEN = Failure(FailureCode.SOURCE_CORRUPT, "not a GGUF")


class Scene:
    """A Models actor on one device, and every Model that it had started, as a recorder."""

    def __init__(self, start: Start, warm_mb: int = 0) -> None:
        self.start = start
        self.clock = ManualClock()
        self.placed: list[Placed] = []
        self.actors: list[Audience] = []
        self.states: list[tuple[ModelState, ...]] = []
        self.warm: dict[str, int] = {}
        self.refusal: BaseException | None = None
        self.held: list[Future[ActorRef]] | None = None
        self.router = Audience(start(Recorder, name="router"))
        self.models = start(
            Models,
            Catalogue(models=(SMALL, OTHER), aliases={"alias": ("small",)}),
            DeviceTable({"cpu:0": 1000}),
            self._start_model,
            self._on_states,
            self.clock,
            warm_mb=warm_mb,
            name="models",
        )

    def _on_states(self, changed: ModelsChanged) -> None:
        self.states.append(changed.models)
        self.warm = {model: changed.weights_mb[model] for model in changed.warm}

    def _start_model(self, spec: ModelSpec, placed: Placed, models: ActorRef) -> Future[ActorRef]:
        self.placed.append(placed)
        started: Future[ActorRef] = Future()
        if self.refusal is not None:
            started.fail(self.refusal)
        elif self.held is not None:
            self.held.append(started)
        else:
            started.resolve(self.start_actor(spec.id))
        return started

    def start_actor(self, model: str) -> ActorRef:
        ref = self.start(Recorder, name=f"model/{model}")
        self.actors.append(Audience(ref))
        return ref

    def load(self, entry: CatalogueEntry = SMALL) -> FakeRequest:
        request = FakeRequest(LoadModel(entry.spec()))
        self.models.notify(LoadAsked(entry.spec(), request))
        settle(self.models)
        return request

    def unload(self, model: str = "small") -> FakeRequest:
        request = FakeRequest(UnloadModel(model))
        self.models.notify(UnloadAsked(model, request))
        settle(self.models)
        return request

    def become(self, state: str, failure: Failure | None = None, model: str = "small") -> None:
        self.models.notify(ModelChanged(model_state(model, state), failure))
        settle(self.models)

    def end(self, reason: ExitReason = NORMAL) -> None:
        """Have the latest Model end."""
        ref = self.actors[-1].ref
        ref.stop(reason)
        assert ref.exit.wait(5.0)
        settle(self.models)

    @property
    def shown(self) -> dict[str, str]:
        return {state.id: state.state for state in self.states[-1]}


@pytest.fixture
def scene(start: Start) -> Scene:
    return Scene(start)


def test_at_its_start_it_says_that_there_is_no_model(scene: Scene) -> None:
    settle(scene.models)

    assert scene.states == [()]


def test_one_load_serves_all_who_ask_for_it(scene: Scene) -> None:
    asked = [scene.load(), scene.load()]
    scene.models.notify(EnsureLoaded("alias", scene.router.ref))
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    scene.clock.advance(3.0)
    scene.become("starting")
    assert [request.answers for request in asked] == [[], []]
    scene.become("ready")

    assert [request.answer() for request in asked] == [ModelLoaded("small", 3.0)] * 2
    assert scene.router.heard(LoadFinished) == [LoadFinished("small", None)]
    assert scene.placed == [Placed("small", ("cpu:0",), 600)]


def test_what_is_ready_already_is_answered_at_once(scene: Scene) -> None:
    scene.load()
    scene.become("ready")
    scene.models.notify(EnsureLoaded("small", scene.router.ref))

    assert scene.load().answer() == ModelLoaded("small", 0.0)
    assert scene.router.next(LoadFinished) == LoadFinished("small", None)
    assert len(scene.placed) == 1


def test_a_model_that_is_not_in_the_catalogue_is_refused(scene: Scene) -> None:
    scene.models.notify(EnsureLoaded("gpt-4", scene.router.ref))

    finished = scene.router.next(LoadFinished)
    assert finished.failure is not None
    assert finished.failure.code == FailureCode.MODEL_NOT_FOUND


def test_a_model_that_does_not_fit_is_refused_with_the_reason(scene: Scene) -> None:
    scene.load()
    scene.models.notify(EnsureLoaded("other", scene.router.ref))
    finished = scene.router.next(LoadFinished)

    for failure in (scene.load(OTHER).failure(), finished.failure):
        assert failure is not None
        assert failure.code == FailureCode.INSUFFICIENT_DEVICES
        assert "small on cpu:0" in failure.message
    assert scene.shown == {"small": "preparing"}


def test_a_failed_load_fails_all_who_wait_and_is_remembered_for_a_while(scene: Scene) -> None:
    asked = scene.load()
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    scene.become("failed", BROKEN)
    assert asked.failure() == BROKEN
    assert scene.router.heard(LoadFinished) == [LoadFinished("small", BROKEN)]
    scene.end()
    assert scene.shown == {"small": "failed"}

    scene.clock.advance(RETRY_FAILED_AFTER_S - 0.1)
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    assert scene.router.next(LoadFinished) == LoadFinished("small", BROKEN)
    assert len(scene.placed) == 1


def test_a_failed_model_is_tried_again_at_once_if_a_gateway_or_an_operator_says_so(
    scene: Scene,
) -> None:
    """A gateway knows by itself when not to, and an operator may have mended the files."""
    scene.load()
    scene.become("failed", BROKEN)
    scene.end()

    again = scene.load()
    scene.become("ready")
    assert again.answer() == ModelLoaded("small", 0.0)


def test_a_failed_model_gives_its_devices_back_and_can_be_tried_again(scene: Scene) -> None:
    scene.load()
    scene.become("failed", BROKEN)
    scene.end()
    other = scene.load(OTHER)
    assert other.answers == []
    scene.models.notify(UnloadAsked("other", other))
    scene.actors[-1].next(Unload)
    scene.end()

    scene.clock.advance(RETRY_FAILED_AFTER_S)
    again = scene.load()
    scene.become("ready")
    assert again.answer() == ModelLoaded("small", 0.0)
    assert len(scene.actors) == 3


def test_a_failed_model_is_not_tried_again_while_its_actor_lives(scene: Scene) -> None:
    scene.load()
    scene.become("failed", BROKEN)
    scene.clock.advance(RETRY_FAILED_AFTER_S)

    assert scene.load().failure() == BROKEN
    assert len(scene.placed) == 1


def test_a_failed_model_can_be_unloaded(scene: Scene) -> None:
    scene.load()
    scene.become("failed", BROKEN)
    scene.end()

    assert scene.unload().answer() == ModelUnloaded("small")
    assert scene.shown == {}


def test_an_unload_is_answered_when_the_model_is_gone(scene: Scene) -> None:
    scene.load()
    scene.become("ready")
    first, second = scene.unload(), scene.unload()
    scene.actors[-1].next(Unload)
    scene.become("unloading")
    assert (first.answers, second.answers) == ([], [])
    assert scene.load().failure().code == FailureCode.MODEL_UNAVAILABLE
    scene.end()

    assert first.answer() == second.answer() == ModelUnloaded("small")
    assert scene.shown == {}
    scene.load()
    assert len(scene.placed) == 2


def test_an_unload_that_comes_before_the_actor_is_passed_on_to_it(scene: Scene) -> None:
    scene.held = []
    loading, unloading = scene.load(), scene.unload()
    scene.held[0].resolve(scene.start_actor("small"))
    eventually(lambda: scene.actors[-1].heard(Unload) != [])
    scene.end()

    assert unloading.answer() == ModelUnloaded("small")
    # Nothing has failed that would be held against the model.
    assert loading.failure() == Failure(FailureCode.MODEL_UNAVAILABLE, "model 'small' was unloaded")


def test_unloading_what_is_not_there_is_refused(scene: Scene) -> None:
    assert scene.unload().failure().code == FailureCode.MODEL_NOT_FOUND


def test_a_crash_releases_the_devices_and_fails_who_asked(scene: Scene) -> None:
    asked = scene.load()
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    scene.end(ExitReason.crash("KeyError"))

    assert "KeyError" in asked.failure().message
    assert scene.router.next(LoadFinished).failure == asked.failure()
    assert scene.shown == {}
    assert scene.load(OTHER).answers == []


def test_a_start_that_is_refused_fails_the_load(scene: Scene) -> None:
    scene.refusal = ActorDead("models/loaded")
    asked = scene.load()

    assert asked.failure().code == FailureCode.LOAD_FAILED
    scene.refusal = None
    assert scene.load().answers == []


def test_a_model_is_told_of_the_loss_of_its_device_and_none_is_placed_there(scene: Scene) -> None:
    scene.load()
    scene.become("ready")
    scene.models.notify(DevicesMeasured(()))
    assert scene.actors[-1].next(DeviceLost) == DeviceLost(0, "cpu:0")
    scene.become("failed", BROKEN)
    scene.end()
    scene.models.notify(DevicesMeasured(()))
    refusal = scene.load(OTHER).failure()
    assert refusal.code == FailureCode.INSUFFICIENT_DEVICES
    assert "gone: cpu:0" in refusal.message

    scene.models.notify(DevicesMeasured((DeviceState("cpu:0", "cpu", "cpu", 1000, 900),)))
    assert scene.load(OTHER).answers == []
    assert scene.placed[-1] == Placed("other", ("cpu:0",), 600)


def test_news_of_a_model_that_is_gone_are_ignored(scene: Scene) -> None:
    scene.become("ready")

    assert scene.shown == {}
    assert scene.models.summary() == "empty"


def test_a_load_that_nobody_waits_for_any_more_is_given_up(scene: Scene) -> None:
    first, second = scene.load(), scene.load()
    actor = scene.actors[-1]
    first.cancel()
    settle(scene.models)
    assert first.failure().code == FailureCode.CANCELLED
    assert actor.heard(Unload) == []

    second.cancel()
    assert actor.next(Unload) == Unload()
    assert scene.load().failure().code == FailureCode.MODEL_UNAVAILABLE
    scene.become("unloaded")
    assert second.answers == []
    scene.end()
    assert scene.shown == {}
    assert second.failure().code == FailureCode.CANCELLED
    scene.load()
    assert len(scene.placed) == 2


def test_a_load_that_this_neurons_own_router_waits_for_goes_on(scene: Scene) -> None:
    request = scene.load()
    scene.models.notify(EnsureLoaded("small", scene.router.ref))
    request.cancel()
    settle(scene.models)

    assert scene.actors[-1].heard(Unload) == []


def test_a_gateway_that_is_lost_has_not_changed_its_mind(scene: Scene) -> None:
    request = scene.load()
    request.link.close("down")
    request.cancel("link_down")
    settle(scene.models)

    assert scene.actors[-1].heard(Unload) == []


def test_a_model_that_is_ready_stays_when_its_load_is_cancelled_too_late(scene: Scene) -> None:
    request = scene.load()
    scene.become("ready")
    request.cancel()
    settle(scene.models)

    assert scene.actors[-1].heard(Unload) == []
    assert request.answers == [ModelLoaded("small", 0.0)]


def test_a_load_that_is_cancelled_before_its_actor_is_there_ends_with_it(scene: Scene) -> None:
    scene.held = []
    scene.load().cancel()
    settle(scene.models)
    scene.held[0].resolve(scene.start_actor("small"))

    assert scene.actors[-1].next(Unload) == Unload()


def test_a_cancelled_load_that_fails_can_be_tried_again(scene: Scene) -> None:
    cancelled = scene.load()
    cancelled.cancel()
    settle(scene.models)
    scene.become("failed", BROKEN)
    scene.end()
    assert cancelled.failure().code == FailureCode.CANCELLED
    scene.load()

    assert len(scene.placed) == 2
