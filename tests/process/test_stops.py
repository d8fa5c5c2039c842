"""A neuron that is stopped while a model of its comes or comes back, not only while it serves.

Each time it ends in order and soon, whoever waits is answered, and no process is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cortex_actors.config.catalogue import CatalogueEntry
from neuron_runtime.launcher import ProcessHandle, ProcessSpec
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.process import whole_neuron
from tests.process.tenant import Tenant
from tests.process.whole_neuron import SomeReal, WholeNeuron, entry
from tests.unit.neuron.asking_front_end import WAIT_S
from transports.link import Failed, Lost
from transports.schemas.fleet import LoadModelById, ModelLoaded

pytestmark = pytest.mark.process

RANKS = "model/pair/rank"


class SlowToLoad(SomeReal):
    """Its ranks are at their load for longer than any test waits."""

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        if spec.name.startswith(RANKS):
            fault = {"CORTEX_FAULT": "slow-step@starting:seconds=600"}
            spec = replace(spec, env={**spec.env, **fault})
        return super().spawn(spec)


def models(directory: Path) -> tuple[CatalogueEntry, ...]:
    return (entry(directory, "pair", 2),)


def ranks(neuron: WholeNeuron) -> list[ProcessHandle]:
    return [handle for handle in neuron.launcher.handles if handle.name.startswith(RANKS)]


def begun(neuron: WholeNeuron) -> None:
    eventually(lambda: neuron.launcher.spawned("model/pair/") != [], WAIT_S)


def loading(neuron: WholeNeuron) -> None:
    eventually(lambda: len(ranks(neuron)) == 2, WAIT_S)
    neuron.await_state("pair", "starting")


def loading_and_deaf(neuron: WholeNeuron) -> None:
    loading(neuron)
    for handle in ranks(neuron):
        os.kill(handle.pid, signal.SIGSTOP)
        eventually(lambda: process_state(handle.pid) == "T", WAIT_S)  # noqa: B023


def assert_nothing_is_left(neuron: WholeNeuron) -> None:
    assert all(handle.exited.is_set() for handle in neuron.launcher.handles)
    assert [row.name for row in neuron.tree.registry.table().rows] == ["root"]


@pytest.mark.parametrize("phase", [begun, loading, loading_and_deaf])
def test_while_a_model_is_loaded(
    directory: Path,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    phase: Callable[[WholeNeuron], None],
) -> None:
    monkeypatch.setattr(whole_neuron, "SomeReal", SlowToLoad)
    neuron = WholeNeuron(directory, tenant, monkeypatch, models)
    asked = neuron.front_end.ask_later(LoadModelById("pair"))
    phase(neuron)
    neuron.close()

    assert isinstance(asked.get(timeout=WAIT_S), Failed | Lost)
    assert_nothing_is_left(neuron)


def test_while_a_group_waits_to_be_restarted(
    directory: Path, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    neuron = WholeNeuron(directory, tenant, monkeypatch, models)
    assert isinstance(neuron.load("pair"), ModelLoaded)
    # The wait grows with each death: 0.1 s, 0.2 s, 0.4 s and so on.
    for deaths in range(1, 5):
        eventually(lambda: len(ranks(neuron)) == 2 * deaths, WAIT_S)  # noqa: B023
        victim = ranks(neuron)[-1]
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.exited.wait(WAIT_S)
    neuron.close()

    assert_nothing_is_left(neuron)
