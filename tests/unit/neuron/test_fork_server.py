"""The ForkServer actor: when its process is started, and that none is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from cortex_actors.neuron import fork_server
from cortex_actors.neuron.fork_server import ForkServer, fork_server_spec
from cortex_actors.neuron.messages import CyclesCounted, ModelsChanged, RenewAsked
from cortex_actors.neuron.model_lifecycle import ModelPhase
from neuron_runtime.launcher import ForkServerSpec, Launcher, OnExit
from neuron_runtime.stopped import process_state
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.neuron.stub_processes import REAP_S
from tests.unit.serving.doubles import Audience, Recorder
from transports.schemas.fleet import ModelState

pytestmark = pytest.mark.process


def stub_spec(on_exit: OnExit) -> ForkServerSpec:
    return ForkServerSpec(("tests.process.stub_child",), (), on_exit)


@pytest.fixture
def real() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.stop(REAP_S)


def changed(*phases: ModelPhase) -> ModelsChanged:
    return ModelsChanged(tuple(ModelState(id=f"m{i}", state=p) for i, p in enumerate(phases)))


def pid(launcher: Launcher) -> int:
    return launcher.fork_server.pid if launcher.fork_server else 0


def test_it_runs_after_the_start_and_is_gone_after_the_end(start: Start, real: Launcher) -> None:
    ref = start(ForkServer, stub_spec, real, name="fork_server")
    eventually(lambda: pid(real) != 0, REAP_S)
    first = pid(real)

    assert ref.summary() == f"pid={first}"
    ref.stop()
    assert ref.exit.wait(REAP_S)
    assert process_state(first) == ""


@pytest.mark.parametrize("retry_s", [0.01, 3600.0], ids=["later", "not-at-once"])
def test_one_that_ended_by_itself_is_replaced(
    start: Start, real: Launcher, monkeypatch: pytest.MonkeyPatch, retry_s: float
) -> None:
    monkeypatch.setattr(fork_server, "RETRY_S", retry_s)
    ref = start(ForkServer, stub_spec, real, name="fork_server")
    eventually(lambda: pid(real) != 0, REAP_S)
    first = pid(real)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: ref.handled == 1, REAP_S)

    if retry_s < 1.0:
        eventually(lambda: pid(real) not in (0, first), REAP_S)
    else:
        ref.notify(changed(ModelPhase.READY))
        ref.stop()
        assert ref.exit.wait(REAP_S)
        assert pid(real) == 0


def test_renewal_replaces_it_when_no_model_is_on_its_way(start: Start, real: Launcher) -> None:
    reporter, models = Audience(start(Recorder)), Audience(start(Recorder))
    find = {"models": models.ref}.get
    ref = start(ForkServer, stub_spec, real, reporter.ref, find, name="fork_server")
    eventually(lambda: pid(real) != 0, REAP_S)
    old = pid(real)
    ref.notify(changed(ModelPhase.PREPARING))
    ref.notify(changed(ModelPhase.STARTING))
    ref.notify(RenewAsked())
    eventually(lambda: ref.handled == 3, REAP_S)
    assert pid(real) == old
    assert models.heard(RenewAsked) == []
    assert reporter.next(CyclesCounted) == CyclesCounted(1)

    ref.notify(changed(ModelPhase.READY))
    assert reporter.next(CyclesCounted) == CyclesCounted(0)
    eventually(lambda: pid(real) not in (0, old), REAP_S)
    assert process_state(old) == ""
    assert models.next(RenewAsked) == RenewAsked()


def test_without_such_a_process_renewal_is_for_the_models_alone(
    start: Start, real: Launcher
) -> None:
    reporter, models = Audience(start(Recorder)), Audience(start(Recorder))
    find = {"models": models.ref}.get
    ref = start(ForkServer, lambda _: None, real, reporter.ref, find, name="fork_server")
    ref.notify(changed(ModelPhase.STARTING))
    ref.notify(RenewAsked())
    ref.notify(changed(ModelPhase.READY))

    assert models.next(RenewAsked) == RenewAsked()
    assert reporter.heard(CyclesCounted) == [CyclesCounted(1), CyclesCounted(0)]


@pytest.mark.parametrize(
    ("backend", "computing"),
    [("torch", "neuron_runtime.torch_backend.rank"), ("fake", "neuron_runtime.backends.fake")],
)
def test_it_imports_what_engine_ranks_and_converter_need(backend: str, computing: str) -> None:
    spec = fork_server_spec(backend, True, lambda _: None)

    assert spec is not None
    assert spec.modules == (
        "neuron_runtime.engine_main",
        "neuron_runtime.worker_main",
        "neuron_runtime.converter_main",
    )
    assert spec.imports == (computing,)
    assert fork_server_spec(backend, False, lambda _: None) is None
