"""The actors that measure, report and activate."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cortex_actors.config.devices import DeviceError
from cortex_actors.neuron.activation import Activation
from cortex_actors.neuron.device_monitor import DeviceMonitor
from cortex_actors.neuron.messages import (
    ActivationPending,
    CyclesCounted,
    DevicesMeasured,
    ModelsChanged,
)
from cortex_actors.neuron.model_history import Timeline
from cortex_actors.neuron.reporter import Reporter, first_state
from cortex_actors.serving.messages import EnsureLoaded, FleetChanged, LoadFinished, Tick
from cortex_actors.serving.state_board import StateBoard
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import (
    Audience,
    Recorder,
    model_state,
    neuron_state,
    settle,
)
from transports.clock import ManualClock
from transports.failures import FailureCode
from transports.schemas.fleet import DeviceState, ModelState
from transports.schemas.link import Failure

DEVICES = neuron_state("n1").devices


def test_the_board_is_written_before_anyone_is_told(start: Start) -> None:
    board = StateBoard(first_state("n1", 7))
    publishers = [Audience(start(Recorder)), Audience(start(Recorder))]
    router = Audience(start(Recorder))
    reporter = start(
        Reporter, board, [publisher.ref for publisher in publishers], {"router": router.ref}.get
    )
    reporter.notify(DevicesMeasured(DEVICES))
    reporter.notify(ModelsChanged((model_state("m"),)))
    settle(reporter)

    state = board.read()
    assert (state.name, state.boot, state.state) == ("n1", 7, "up")
    assert (state.devices, state.models) == (DEVICES, (model_state("m"),))
    assert router.heard(FleetChanged) == [FleetChanged()] * 2
    assert [publisher.heard(Tick) for publisher in publishers] == [[Tick()] * 2] * 2


def test_under_a_cap_the_models_of_this_neuron_are_what_takes_memory(start: Start) -> None:
    board = StateBoard(first_state("n1", 7))
    reporter = start(Reporter, board, (), {}.get, 1000)
    reporter.notify(DevicesMeasured((DeviceState("cpu:0", "cpu", "", 1000, 1000),)))
    taken = ModelState("m", "ready", devices=("cpu:0",), memory_mb=400)
    reporter.notify(ModelsChanged((taken,)))
    settle(reporter)
    assert board.read().devices[0].memory_free_mb == 600

    reporter.notify(ModelsChanged(()))
    reporter.notify(CyclesCounted(3))
    settle(reporter)
    assert (board.read().devices[0].memory_free_mb, board.read().cycles) == (1000, 3)


@pytest.mark.parametrize(
    "left", [(), (model_state("m", "failed"),), (model_state("m", "unloaded"),)]
)
def test_that_a_model_has_left_is_told_with_what_the_devices_have_then(
    start: Start, left: tuple[ModelState, ...]
) -> None:
    board = StateBoard(first_state("n1", 7))
    reporter = start(Reporter, board, (), {}.get)
    reporter.notify(DevicesMeasured(DEVICES))
    reporter.notify(ModelsChanged((model_state("m", "unloading"),)))
    reporter.notify(ModelsChanged(left))
    settle(reporter)
    assert board.read().models == (model_state("m", "unloading"),)

    since = (DeviceState("cpu:0", "cpu", "", 2000, 100),)
    reporter.notify(DevicesMeasured(since))
    settle(reporter)
    assert (board.read().devices, board.read().models) == (since, left)


def test_a_router_that_is_not_there_is_not_told(start: Start) -> None:
    board = StateBoard(first_state("n1", 7))
    reporter = start(Reporter, board, (), {}.get)
    reporter.notify(DevicesMeasured(DEVICES))
    settle(reporter)

    assert board.read().devices == DEVICES


class Meter:
    """A monitor of two devices that measures what a test says: some of them, or None for failing.

    ``told`` is what the neuron was told, measurement by measurement.
    """

    def __init__(self, start: Start, first: str | None = "ab") -> None:
        self.known = tuple(DeviceState(id_, "cuda", "gpu", 1000, 900) for id_ in "ab")
        self.told: list[str] = []
        self.finds = first
        self.clock = ManualClock(100.0)
        self.measured_at: Mapping[str, float] = {}
        self.monitor = start(
            DeviceMonitor, self.known, self._measure, self._on_measured, self.clock
        )
        settle(self.monitor)

    def measure(self, *answers: str | None) -> list[str]:
        for self.finds in answers:
            self.monitor.notify(Tick())
            settle(self.monitor)
        return self.told

    def _measure(self) -> tuple[DeviceState, ...]:
        if self.finds is None:
            raise DeviceError("nvidia-smi hangs")
        return tuple(device for device in self.known if device.id in self.finds)

    def _on_measured(self, measured: DevicesMeasured) -> None:
        self.told.append("".join(device.id for device in measured.devices))
        self.measured_at = measured.measured_at


def test_devices_are_measured_at_the_start(start: Start) -> None:
    assert Meter(start).told == ["ab"]


def test_a_measurement_that_fails_says_nothing_about_the_devices(start: Start) -> None:
    assert Meter(start, None).measure(None, None, None, "ab") == ["ab"] * 5


def test_a_measurement_that_lacks_a_device_or_fails_leaves_its_figures_as_old_as_they_are(
    start: Start,
) -> None:
    meter = Meter(start)
    assert meter.measured_at == {"a": 100.0, "b": 100.0}
    meter.clock.advance(5.0)
    meter.measure("a")
    assert meter.measured_at == {"a": 105.0, "b": 100.0}
    meter.clock.advance(5.0)
    meter.measure(None)
    assert meter.measured_at == {"a": 105.0, "b": 100.0}


def test_devices_are_as_old_as_their_measurement_whatever_happens_since(start: Start) -> None:
    board, timeline = StateBoard(first_state("n1", 7)), StateBoard(Timeline())
    reporter = start(Reporter, board, (), {}.get, timeline=timeline)
    reporter.notify(DevicesMeasured(DEVICES, {"cpu:0": 100.0}))
    reporter.notify(ModelsChanged((model_state("m"),)))
    settle(reporter)

    (device,) = timeline.read().devices_at(board.read().devices, 104.5)
    assert device.age_s == 4.5


def test_a_device_is_gone_when_it_is_missed_twice_in_a_row(start: Start) -> None:
    meter = Meter(start)
    assert meter.measure("a", "ab", "a", None, "a", "a") == ["ab", "ab", "ab", "ab", "ab", "a", "a"]
    assert meter.monitor.summary() == "devices=1 gone=b"


def test_a_device_that_is_measured_again_is_back(start: Start) -> None:
    assert Meter(start).measure("a", "a", "ab", "a") == ["ab", "ab", "a", "ab", "ab"]


@pytest.mark.parametrize(
    "left", [(), (model_state("m", "failed"),), (model_state("m", "unloaded"),)]
)
def test_devices_are_measured_at_once_when_a_model_has_left(
    start: Start, left: tuple[ModelState, ...]
) -> None:
    meter = Meter(start)
    meter.monitor.notify(ModelsChanged((model_state("m", "starting"),)))
    meter.monitor.notify(ModelsChanged((model_state("m", "unloading"),)))
    settle(meter.monitor)
    assert meter.told == ["ab"]

    meter.monitor.notify(ModelsChanged(left))
    settle(meter.monitor)
    assert meter.told == ["ab", "ab"]


def test_all_devices_may_be_gone(start: Start) -> None:
    assert Meter(start).measure("", "")[-1] == ""


def test_what_waits_to_be_activated_is_in_the_neurons_state(start: Start) -> None:
    """N06: before anything is loaded."""
    board = StateBoard(first_state("n1", 7))
    publisher = Audience(start(Recorder))
    reporter = start(Reporter, board, (publisher.ref,), {}.get)
    reporter.notify(ActivationPending(("a", "b")))
    settle(reporter)
    assert (board.read().pending, board.read().models) == (("a", "b"), ())
    assert publisher.heard(Tick) == [Tick()]

    reporter.notify(DevicesMeasured(DEVICES))
    reporter.notify(ActivationPending(()))
    settle(reporter)
    assert board.read().pending == ()


@pytest.mark.parametrize("failure", [None, Failure(FailureCode.LOAD_FAILED, "no")])
def test_default_models_are_loaded_one_after_the_other_whatever_becomes_of_them(
    start: Start, failure: Failure | None
) -> None:
    models, reporter = Audience(start(Recorder)), Audience(start(Recorder))
    activation = start(Activation, ("a", "b"), models.ref, reporter.ref)
    assert models.next(EnsureLoaded).model == "a"
    assert models.heard(EnsureLoaded) == []
    assert reporter.heard(ActivationPending) == [ActivationPending(("b",))]
    activation.notify(LoadFinished("a", failure))
    activation.notify(LoadFinished("a", failure))

    assert models.next(EnsureLoaded).model == "b"
    activation.notify(LoadFinished("b", failure))
    settle(activation)
    assert activation.summary() == "pending=none"
    assert reporter.heard(ActivationPending) == [ActivationPending(())] * 2
    assert models.heard(EnsureLoaded) == []
