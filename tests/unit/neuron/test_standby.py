"""The Standby actor: when processes are made ready, and that none is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from cortex_actors.neuron import standby
from cortex_actors.neuron.messages import CyclesCounted, ModelsChanged, RenewAsked
from cortex_actors.neuron.model_lifecycle import ModelPhase
from cortex_actors.neuron.model_processes import WORKER_NICE
from cortex_actors.neuron.standby import Standby, standby_specs
from neuron_runtime.launcher import Launcher, OnExit, ProcessSpec, StandbySpec
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.neuron.stub_processes import REAP_S
from tests.unit.serving.doubles import Audience, Recorder
from transports.schemas.fleet import ModelState

pytestmark = pytest.mark.process
STUB = "tests.process.stub_child"


def stub_specs(on_exit: OnExit) -> tuple[StandbySpec, ...]:
    return (StandbySpec(STUB, (), 1, on_exit),)


@pytest.fixture
def real() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.stop(REAP_S)


def changed(*phases: ModelPhase) -> ModelsChanged:
    return ModelsChanged(tuple(ModelState(id=f"m{i}", state=p) for i, p in enumerate(phases)))


def pids(launcher: Launcher) -> list[int]:
    return [handle.pid for handle in launcher.standbys]


def assign(launcher: Launcher) -> int:
    args = ("--boot=1", "--parent=ipc:///none")
    return launcher.spawn(ProcessSpec("rank", STUB, args, 1, 1, lambda _: None)).pid


def test_one_is_ready_after_the_start_and_gone_after_the_end(start: Start, real: Launcher) -> None:
    ref = start(Standby, stub_specs, real, name="standby")
    eventually(lambda: len(pids(real)) == 1, REAP_S)
    (pid,) = pids(real)

    assert ref.summary() == f"pids={pid}"
    ref.stop()
    assert ref.exit.wait(REAP_S)
    assert process_state(pid) == ""


def test_one_that_was_assigned_is_replaced_when_no_model_is_on_its_way(
    start: Start, real: Launcher
) -> None:
    ref = start(Standby, stub_specs, real, name="standby")
    eventually(lambda: len(pids(real)) == 1, REAP_S)
    ref.notify(changed(ModelPhase.READY, ModelPhase.STARTING))
    first = assign(real)
    ref.notify(changed(ModelPhase.READY, ModelPhase.RECOVERING))
    ref.notify(changed(ModelPhase.UNLOADING))
    eventually(lambda: ref.handled == 3, REAP_S)
    # The launcher does one thing after the other, and a standby does not fit this.
    real.spawn(ProcessSpec("other", STUB, ("--mode=exit:0",), 2, 2, lambda _: None, nice=1))
    assert pids(real) == []

    ref.notify(changed(ModelPhase.READY, ModelPhase.FAILED))
    eventually(lambda: len(pids(real)) == 1, REAP_S)
    assert pids(real) != [first]


@pytest.mark.parametrize("retry_s", [0.01, 3600.0], ids=["later", "not-at-once"])
def test_one_that_ended_by_itself_is_replaced(
    start: Start, real: Launcher, monkeypatch: pytest.MonkeyPatch, retry_s: float
) -> None:
    monkeypatch.setattr(standby, "RETRY_S", retry_s)
    ref = start(Standby, stub_specs, real, name="standby")
    eventually(lambda: len(pids(real)) == 1, REAP_S)
    (pid,) = pids(real)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ref.handled == 1, REAP_S)

    if retry_s < 1.0:
        eventually(lambda: len(pids(real)) == 1 and pids(real) != [pid], REAP_S)
    else:
        ref.notify(changed(ModelPhase.READY))
        ref.stop()
        assert ref.exit.wait(REAP_S)
        assert pids(real) == []


def test_a_rank_and_an_engine_are_what_a_load_needs() -> None:
    rank, engine = standby_specs("torch", 2, lambda _: None)
    spec = partial(ProcessSpec, "name", slot=1, inc=1, on_exit=lambda _: None)
    args = ("--boot=1", "--parent=x", "--backend=torch")

    assert (rank.count, engine.count) == (2, 1)
    assert rank.fits(spec("neuron_runtime.worker_main", args, nice=WORKER_NICE))
    assert not rank.fits(spec("neuron_runtime.worker_main", args[:2], nice=WORKER_NICE))
    assert engine.fits(spec("neuron_runtime.engine_main", ("--boot=1",)))
    assert standby_specs("torch", 0, lambda _: None) == ()


def test_renewal_replaces_what_stands_by_when_no_model_is_on_its_way(
    start: Start, real: Launcher
) -> None:
    reporter = Audience(start(Recorder))
    ref = start(Standby, stub_specs, real, reporter.ref, name="standby")
    eventually(lambda: len(pids(real)) == 1, REAP_S)
    (old,) = pids(real)
    ref.notify(changed(ModelPhase.PREPARING))
    ref.notify(changed(ModelPhase.STARTING))
    ref.notify(RenewAsked())
    eventually(lambda: ref.handled == 3, REAP_S)
    assert pids(real) == [old]
    assert reporter.next(CyclesCounted) == CyclesCounted(1)

    ref.notify(changed(ModelPhase.READY))
    assert reporter.next(CyclesCounted) == CyclesCounted(0)
    eventually(lambda: len(pids(real)) == 1 and pids(real) != [old], REAP_S)
    assert process_state(old) == ""
