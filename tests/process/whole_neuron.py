"""A whole neuron daemon in the test's own process, with real engines and ranks that fake."""

from __future__ import annotations

from collections.abc import Callable
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
from neuron_runtime.launcher import ProcessHandle, ProcessSpec
from tests.eventually import eventually
from tests.process.tenant import STUB, Spawner
from tests.unit.engine.tiny_model import FAKE_WORDS, make_model_dir
from tests.unit.neuron.asking_front_end import WAIT_S, FrontEnd
from transports.link import Completed, Failed
from transports.reactor import Reactor
from transports.schemas.fleet import (
    DeviceState,
    LoadModelById,
    ModelLoaded,
    ModelState,
    QueryState,
    ServiceState,
)
from transports.schemas.link import Failure

DEVICES = 3


class SomeReal:
    """A launcher whose front end is a stub and whose ``damaged`` model has a rank 1 of its own."""

    fork_server: ProcessHandle | None = None

    def __init__(self, launcher: Spawner) -> None:
        self._launcher = launcher
        self.handles: list[ProcessHandle] = []

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        if spec.name == "front_end":
            args = ("--boot=1", "--parent=ipc:///none")
            spec = replace(spec, module=STUB, args=args)
        elif spec.name == "model/damaged/rank1":
            spec = replace(spec, module="tests.process.damaged_rank")
        quiet = replace(spec, env={**spec.env, "CORTEX_LOG_LEVEL": "WARNING"})
        self.handles.append(self._launcher.spawn(quiet))
        return self.handles[-1]

    def spawned(self, prefix: str) -> list[str]:
        """The names of all that were ever started and are called so."""
        return [handle.name for handle in self.handles if handle.name.startswith(prefix)]

    def stop(self, timeout_s: float) -> bool:
        """Kill what is left; returns whether it is gone."""
        return self._launcher.stop(timeout_s)


class WholeNeuron:
    """A neuron with three devices; ``present`` are those that are measured."""

    def __init__(
        self,
        directory: Path,
        launcher: Spawner,
        monkeypatch: pytest.MonkeyPatch,
        models: Callable[[Path], tuple[CatalogueEntry, ...]],
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.present = {f"cpu:{number}" for number in range(DEVICES)}

        def left(known: tuple[DeviceState, ...]) -> tuple[DeviceState, ...]:
            return tuple(device for device in measure_devices(known) if device.id in self.present)

        monkeypatch.setattr(neuron_tree, "measure_devices", left)
        self.launcher = SomeReal(launcher)
        self.reactor = Reactor("test")
        self.reactor.start()
        source = ProcessSource(cast("Any", self.launcher), IncarnationMint(mint_boot()))
        known = NeuronSettings(
            drain_s=0.1,
            preload=False,
            devices=DeviceChoice("cpu", DEVICES),
            link="tcp://127.0.0.1:*",
            cache_dir=directory / "cache",
            **settings,
        )
        catalogue = Catalogue(models=models(directory))
        config = NeuronConfig(Path("neuron.yaml"), known, RestartSettings(), (), catalogue)
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


def entry(
    directory: Path, model: str, devices: int = 1, config: dict[str, Any] | None = None
) -> CatalogueEntry:
    """A model of which there is all that an engine reads."""
    path = make_model_dir(directory / model, words=FAKE_WORDS, config=config)
    return CatalogueEntry(id=model, source=f"file://{path}", min_devices=devices, vram_mb=1)
