"""Placements that cannot work, on a whole daemon: a typed error, and nothing else is touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.config.devices import DeviceChoice, measure_devices
from cortex_actors.config.neuron_config import NeuronConfig, NeuronSettings
from cortex_actors.config.restart_settings import RestartSettings
from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.neuron import tree as neuron_tree
from cortex_actors.neuron.tree import NeuronTree
from cortex_actors.serving.daemon_tree import Ground
from cortex_actors.serving.messages import Tick
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.launcher import Launcher, ProcessHandle, ProcessSpec
from tests.eventually import eventually
from tests.process.damaged_rank import SHARD
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from tests.unit.neuron.asking_front_end import WAIT_S, FrontEnd
from transports.failures import FailureCode
from transports.link import Completed, Failed
from transports.reactor import Reactor
from transports.schemas.fleet import (
    DeviceState,
    LeaseRequest,
    LoadModelById,
    ModelLoaded,
    ModelState,
    QueryState,
    ServiceState,
)
from transports.schemas.link import Failure

pytestmark = pytest.mark.process
DEVICES = 3


class SomeReal:
    """A launcher whose front end is a stub and whose ``damaged`` model has a rank 1 of its own."""

    def __init__(self) -> None:
        self.launcher = Launcher()
        self.handles: list[ProcessHandle] = []

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        if spec.name == "front_end":
            args = ("--boot=1", "--parent=ipc:///none")
            spec = replace(spec, module="tests.process.stub_child", args=args)
        elif spec.name == "model/damaged/rank1":
            spec = replace(spec, module="tests.process.damaged_rank")
        quiet = replace(spec, env={**spec.env, "CORTEX_LOG_LEVEL": "WARNING"})
        self.handles.append(self.launcher.spawn(quiet))
        return self.handles[-1]

    def spawned(self, prefix: str) -> list[str]:
        """The names of all that were ever started and are called so."""
        return [handle.name for handle in self.handles if handle.name.startswith(prefix)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.launcher, name)


class Neuron:
    """A neuron with three devices; ``present`` are those that are measured."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.present = {f"cpu:{number}" for number in range(DEVICES)}

        def left(known: tuple[DeviceState, ...]) -> tuple[DeviceState, ...]:
            return tuple(device for device in measure_devices(known) if device.id in self.present)

        monkeypatch.setattr(neuron_tree, "measure_devices", left)
        self.launcher = SomeReal()
        self.reactor = Reactor("test")
        self.reactor.start()
        source = ProcessSource(cast("Any", self.launcher), IncarnationMint(mint_boot()))
        settings = NeuronSettings(
            drain_s=0.1,
            preload=False,
            devices=DeviceChoice("cpu", DEVICES),
            link="tcp://127.0.0.1:*",
            cache_dir=directory / "cache",
        )
        config = NeuronConfig(
            Path("neuron.yaml"), settings, RestartSettings(), (), self._catalogue()
        )
        self.tree = NeuronTree(config, Ground(self.reactor, source, directory), "fake")
        self.root = self.tree.start()
        assert self.root.ready.wait(WAIT_S)
        self.front_end = FrontEnd(self.reactor, directory)

    def load(self, model: str) -> ModelLoaded | Failure:
        """Have the model loaded, as an operator would."""
        match self.front_end.ask(LoadModelById(model)):
            case Completed(body=ModelLoaded() as loaded):
                return loaded
            case Failed(failure=failure):
                return failure
            case other:
                raise AssertionError(other)

    def refusal(self, model: str) -> Failure:
        outcome = self.load(model)
        assert isinstance(outcome, Failure)
        return outcome

    def model(self, model: str) -> ModelState:
        """What is known of the model now."""
        answer = self.front_end.ask(QueryState())
        assert isinstance(answer, Completed)
        assert isinstance(answer.body, ServiceState)
        return next(state for state in answer.body.models if state.id == model)

    def await_state(self, model: str, state: str) -> ModelState:
        """Wait until the neuron shows this; an answer may come just before."""
        eventually(lambda: self.model(model).state == state, WAIT_S)
        return self.model(model)

    def measure(self, times: int = 2) -> None:
        """Have the devices measured."""
        for _ in range(times):
            self.tree.registry.find("devices").notify(Tick())

    def close(self) -> None:
        self.root.stop()
        assert self.root.exit.wait(WAIT_S)
        assert self.launcher.stop(WAIT_S)
        self.reactor.stop()
        assert self.reactor.join(WAIT_S)

    def _catalogue(self) -> Catalogue:
        nine = {"num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}
        entries = [
            self._entry("small", 1),
            self._entry("pair", 2),
            self._entry("wide", DEVICES + 1),
            self._entry("nine", 2, nine),
            self._entry("damaged", 2),
        ]
        # The shard is one byte short of what its header promises.
        header = b'{"w":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}'
        content = len(header).to_bytes(8, "little") + header + bytes(7)
        (self.directory / "damaged" / SHARD).write_bytes(content)
        return Catalogue(models=tuple(entries))

    def _entry(
        self, model: str, devices: int, config: dict[str, Any] | None = None
    ) -> CatalogueEntry:
        path = make_model_dir(self.directory / model, words=FAKE_WORDS, config=config)
        return CatalogueEntry(id=model, source=f"file://{path}", min_devices=devices, vram_mb=1)


@pytest.fixture
def neuron(monkeypatch: pytest.MonkeyPatch) -> Iterator[Neuron]:
    # Not tmp_path: an ipc path has at most 100 bytes.
    directory = Path(tempfile.mkdtemp(prefix="cortex-"))
    neuron = Neuron(directory, monkeypatch)
    yield neuron
    neuron.close()
    shutil.rmtree(directory)


@pytest.fixture
def other(neuron: Neuron) -> Iterator[None]:
    """Another model that serves before and after, by the same processes."""
    assert isinstance(neuron.load("small"), ModelLoaded)
    processes = tuple(neuron.launcher.handles)
    yield
    assert neuron.root.alive
    small = neuron.await_state("small", "ready")
    assert (small.restarts, small.error) == (0, "")
    assert not any(handle.exited.is_set() for handle in processes)
    assert isinstance(neuron.front_end.ask(LeaseRequest("id", "small")), Completed)


@pytest.mark.usefixtures("other")
def test_a_number_of_ranks_that_does_not_divide_starts_no_process(neuron: Neuron) -> None:
    failure = neuron.refusal("nine")

    assert failure.code == FailureCode.LOAD_FAILED
    assert "cannot be divided among 2 devices; possible are 1, 3" in failure.message
    assert neuron.await_state("nine", "failed").error == failure.message
    assert neuron.launcher.spawned("model/nine/") == []


@pytest.mark.usefixtures("other")
def test_more_ranks_than_devices_are_refused(neuron: Neuron) -> None:
    failure = neuron.refusal("wide")

    assert failure.code == FailureCode.INSUFFICIENT_DEVICES
    assert "'wide' needs 4 devices; this neuron has 3: cpu:0, cpu:1, cpu:2" in failure.message


@pytest.mark.usefixtures("other")
def test_a_group_on_a_device_of_another_group_is_refused(neuron: Neuron) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    failure = neuron.refusal("damaged")

    assert failure.code == FailureCode.INSUFFICIENT_DEVICES
    assert "resident: small on cpu:0, pair on cpu:1+cpu:2" in failure.message
    neuron.await_state("pair", "ready")
    assert neuron.launcher.spawned("model/damaged/") == []


@pytest.mark.usefixtures("other")
def test_a_shard_that_one_rank_cannot_read_fails_the_model_and_names_rank_and_file(
    neuron: Neuron,
) -> None:
    failure = neuron.refusal("damaged")

    assert failure.code == FailureCode.SOURCE_CORRUPT
    assert "rank 1: " in failure.message
    assert f"{SHARD} is truncated: 7 of 8 bytes" in failure.message
    assert "rank 0" not in failure.message
    neuron.await_state("damaged", "failed")
    # A second epoch may have been begun before the model heard of the first one's end.
    ranks = {"model/damaged/rank0", "model/damaged/rank1"}
    assert set(neuron.launcher.spawned("model/damaged/rank")) == ranks
    assert isinstance(neuron.load("pair"), ModelLoaded)


@pytest.mark.usefixtures("other")
def test_a_device_that_vanishes_fails_its_model_and_is_given_to_no_other(neuron: Neuron) -> None:
    assert isinstance(neuron.load("pair"), ModelLoaded)
    neuron.present.discard("cpu:2")
    neuron.measure()

    cause = "rank 1 had cpu:2, which is gone"
    assert cause in neuron.await_state("pair", "failed").error
    for refused in (neuron.refusal("pair"), _lease_refusal(neuron, "pair")):
        assert (refused.code, cause in refused.message) == (FailureCode.DEVICE_LOST, True)
    later = neuron.refusal("damaged")
    assert later.code == FailureCode.INSUFFICIENT_DEVICES
    assert "gone: cpu:2" in later.message
    neuron.present.add("cpu:2")
    neuron.measure(1)
    eventually(lambda: isinstance(_replaced(neuron), Failure), WAIT_S)


def _lease_refusal(neuron: Neuron, model: str) -> Failure:
    answer = neuron.front_end.ask(LeaseRequest("id", model))
    assert isinstance(answer, Failed), answer
    return answer.failure


def _replaced(neuron: Neuron) -> Failure | None:
    """The damaged model's own failure, which it has only where it could be placed."""
    failure = neuron.refusal("damaged")
    return failure if failure.code == FailureCode.SOURCE_CORRUPT else None
