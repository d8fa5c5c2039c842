"""The actors that measure, report and activate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cortex_actors.config.devices import DeviceError
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.activation import Activation
from cortex_actors.neuron.device_monitor import DeviceMonitor
from cortex_actors.neuron.messages import DevicesMeasured, ModelsChanged
from cortex_actors.neuron.reporter import Reporter, first_state
from cortex_actors.serving.messages import EnsureLoaded, FleetChanged, LoadFinished, Tick
from cortex_actors.serving.state_board import StateBoard
from tests.unit.serving.doubles import (
    SOON_S,
    Audience,
    Recorder,
    model_state,
    neuron_state,
    settle,
)
from transports.failures import FailureCode
from transports.schemas.fleet import DeviceState
from transports.schemas.link import Failure

Start = Callable[..., ActorRef]
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


def test_a_router_that_is_not_there_is_not_told(start: Start) -> None:
    board = StateBoard(first_state("n1", 7))
    reporter = start(Reporter, board, (), {}.get)
    reporter.notify(DevicesMeasured(DEVICES))
    settle(reporter)

    assert board.read().devices == DEVICES


class Meter:
    """Measures what a test says."""

    def __init__(self) -> None:
        self.told: list[tuple[DeviceState, ...]] = []
        self.fails = False

    def measure(self) -> tuple[DeviceState, ...]:
        if self.fails:
            raise DeviceError("nvidia-smi hangs")
        return DEVICES


def test_devices_are_measured_at_the_start_and_a_later_failure_changes_nothing(
    start: Start,
) -> None:
    meter = Meter()
    monitor = start(DeviceMonitor, meter.measure, meter.told.append)
    meter.fails = True
    monitor.notify(Tick())
    settle(monitor)
    assert monitor.alive
    meter.fails = False
    monitor.notify(Tick())
    settle(monitor)

    assert meter.told == [DEVICES, DEVICES]


def test_devices_that_were_never_there_are_a_failed_start(start: Start) -> None:
    meter = Meter()
    meter.fails = True
    monitor = start(DeviceMonitor, meter.measure, meter.told.append)

    assert monitor.exit.wait(SOON_S)
    assert "nvidia-smi hangs" in str(monitor.exit.result())


@pytest.mark.parametrize("failure", [None, Failure(FailureCode.LOAD_FAILED, "no")])
def test_default_models_are_loaded_one_after_the_other_whatever_becomes_of_them(
    start: Start, failure: Failure | None
) -> None:
    models = Audience(start(Recorder))
    activation = start(Activation, ("a", "b"), models.ref)
    assert models.next(EnsureLoaded).model == "a"
    assert models.heard(EnsureLoaded) == []
    activation.notify(LoadFinished("a", failure))
    activation.notify(LoadFinished("a", failure))

    assert models.next(EnsureLoaded).model == "b"
    activation.notify(LoadFinished("b", failure))
    settle(activation)
    assert activation.summary() == "pending=none"
    assert models.heard(EnsureLoaded) == []
