"""Every figure carries its age, which grows while a neuron is silent."""

from __future__ import annotations

import msgspec
import pytest

from cortex_actors.gateway.figure_ages import aged
from cortex_actors.gateway.fleet_table import SUSPECT, FleetTable
from tests.unit.serving.doubles import neuron_state
from transports.clock import ManualClock
from transports.schemas.fleet import NeuronState


class Scene:
    """A neuron that says what a test has it say."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.fleet = FleetTable()

    def says(self, state: NeuronState) -> None:
        self.fleet.reported(state, 1, self.clock.now())

    def shown(self, after_s: float = 0.0) -> NeuronState:
        self.clock.advance(after_s)
        (neuron,) = aged(self.fleet.states(), self.fleet.heard, self.clock.now())
        return neuron


def test_what_a_neuron_said_grows_older_until_it_says_more() -> None:
    scene = Scene()
    scene.says(neuron_state("n1"))
    assert scene.shown().age_s == 0.0
    assert scene.shown(after_s=0.75).age_s == 0.75
    scene.says(neuron_state("n1"))
    assert scene.shown().age_s == 0.0


def test_a_connection_that_tells_of_a_silence_makes_nothing_younger() -> None:
    scene = Scene()
    scene.says(neuron_state("n1"))
    scene.clock.advance(3.0)
    scene.says(neuron_state("n1", state=SUSPECT))
    assert scene.shown(after_s=27.0).age_s == 30.0
    scene.fleet.lost("n1", 1, scene.clock.now())
    down = scene.shown(after_s=90.0)
    assert (down.state, down.age_s) == ("down", 120.0)


def test_a_neuron_that_is_back_is_young_again() -> None:
    scene = Scene()
    scene.says(neuron_state("n1"))
    scene.fleet.lost("n1", 1, scene.clock.now())
    scene.clock.advance(60.0)
    scene.fleet.reported(neuron_state("n1"), 2, scene.clock.now())
    assert scene.shown(after_s=0.5).age_s == 0.5


@pytest.mark.parametrize("told_s", [4.0, -3.0, float("nan")])
def test_a_devices_figures_were_measured_before_they_were_told(told_s: float) -> None:
    scene, state = Scene(), neuron_state("n1")
    (device,) = state.devices
    older = msgspec.structs.replace(device, age_s=told_s)
    scene.says(msgspec.structs.replace(state, devices=(older,)))
    assert scene.shown(after_s=0.5).devices[0].age_s == (4.5 if told_s == 4.0 else 0.5)
