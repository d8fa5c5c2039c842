"""What a Model actor starts and stops, without processes: memory, time, and an engine that serves.

It stands in for ``ModelProcesses``. Like the real one it is strict about order: what is stopped is
gone when ``stop`` returns, and its memory comes back ``release_s`` later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import (
    DrainAsked,
    Drained,
    EngineEnded,
    EngineUp,
    EpochBroken,
    EpochEnded,
    EpochReady,
)
from tests.simulation.engine import CAPACITY, Engine
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.schedule import NeuronPlan
from tests.simulation.world import Host, World
from transports.failures import FailureCode
from transports.schemas.daemon import EngineLoad, GroupReady
from transports.schemas.fleet import ModelSpec

RESTART_S = 2.0
MOST_RESTARTS = 2
_MIB = 1 << 20


@dataclass(slots=True)
class Machine:
    """What is physically there: the devices, and who holds how much of each."""

    plan: NeuronPlan
    used_mb: Counter[str] = field(default_factory=Counter)
    running: dict[str, Processes] = field(default_factory=dict)
    ports: count[int] = field(default_factory=lambda: count(20_001))
    loads_fail: bool = False

    @property
    def sizes_mb(self) -> dict[str, int]:
        """Each device's memory."""
        return {f"cpu:{number}": size for number, size in enumerate(self.plan.devices_mb)}

    def reboot(self) -> None:
        """Nothing is left of what ran."""
        self.used_mb, self.running = Counter(), {}


class _Tree(SupervisedActor):
    """One model's engine, started again when it dies, not for ever."""

    def __init__(self, processes: Processes, model: ActorRef) -> None:
        super().__init__()
        self._processes = processes
        self._model = model

    def on_start(self) -> None:
        self._processes.launch(self._model, self.ref)

    @handles(DrainAsked)
    def _drain(self, message: DrainAsked) -> None:
        engine, model = self._processes.serving, self._model
        if engine is None:
            model.notify(Drained())
        else:
            engine.drain(message.grace_s, lambda: model.notify(Drained()))

    @handles(EngineEnded)
    def _ended(self, message: EngineEnded) -> None:
        self._model.notify(message)
        self._model.notify(EpochEnded(1, message.reason))
        if self._processes.restarts >= MOST_RESTARTS:
            self.leave(ExitReason.crash("engine", message.reason))
        else:
            self._processes.restarts += 1
            self.tell_later(RESTART_S, _Again())

    def receive(self, message: object) -> None:
        if isinstance(message, _Again):
            self._processes.launch(self._model, self.ref)


class _Again:
    """Time to start it anew."""


class Processes:
    """One model's on one neuron."""

    def __init__(
        self,
        world: World,
        network: Network,
        machine: Machine,
        spec: ModelSpec,
        devices: tuple[str, ...],
    ) -> None:
        self.serving: Engine | None = None
        self.restarts = 0
        self._world = world
        self._network = network
        self._machine = machine
        self._spec = spec
        self._devices = devices
        self._tree: ActorRef | None = None
        self.host: Host | None = None

    @property
    def engine(self) -> ActorRef | None:
        """Who takes a ``DrainAsked``."""
        return self._tree

    def cached(self) -> Path | None:
        """The files are always there."""
        return Path("/models") / self._spec.id

    def check(self, model_dir: Path) -> None:
        """Every model divides."""

    def start_preparation(self, model: ActorRef) -> ActorRef:
        """Never needed."""
        raise AssertionError("the files are there")

    def start(self, model_dir: Path, model: ActorRef) -> ActorRef:
        """Start the engine; its supervisor's end means that it gave up."""
        self.stop()
        self._tree = _Tree.start(self, model, name=f"model/{self._spec.id}/processes")
        return self._tree

    def stop(self) -> None:
        """End the engine; it is gone when this returns."""
        if self._tree is not None:
            self._tree.stop()
            self._tree = None
        if self.host is not None:
            self.end("stopped")

    # -- one engine process ---------------------------------------------------------------------

    def launch(self, model: ActorRef, tree: ActorRef) -> None:
        """Start an engine process and load the weights."""
        world, machine, id_ = self._world, self._machine, self._spec.id
        if self._tree != tree:
            return
        if id_ in machine.running:
            world.violate(f"a second load of {id_} on {machine.plan.name}")
        host = self.host = Host(world, f"{machine.plan.name}/{id_}", machine.plan.name)
        host.slowness = world.host.slowness
        machine.running[id_] = self
        self._take()
        world.tell(f"loads {id_} on {'+'.join(self._devices)}")
        loop = VirtualLoop(world, self._network, host)
        load_s = machine.plan.load_s * world.host.slowness

        def loaded() -> None:
            if machine.loads_fail:
                model.notify(EpochBroken(1, FailureCode.LOAD_FAILED, "the weights are damaged"))
                return
            endpoint = f"tcp://{machine.plan.name}:{next(machine.ports)}"
            self.serving = Engine(world, host, loop, endpoint, machine.plan.step_s, on_load)
            world.tell(f"serves {id_} at {endpoint}")
            model.notify(EngineUp(endpoint))
            model.notify(EpochReady(GroupReady(1, load_s, self._spec.vram_mb * _MIB)))
            on_load(0, 0)

        def on_load(running: int, waiting: int) -> None:
            model.notify(EngineLoad(running, waiting, CAPACITY, 4096))

        loop.call_later(load_s, loaded)

    def die(self) -> None:
        """The engine process is killed by somebody else."""
        self.end("died")
        if self._tree is not None:
            self._tree.notify(EngineEnded("killed(SIGKILL)"))

    def end(self, how: str) -> None:
        """The process is gone; what it held comes back a little later."""
        host, self.host, self.serving = self.host, None, None
        if host is None:
            return
        self._world.tell(f"{host} has {how}")
        self._machine.running.pop(self._spec.id, None)
        self._network.kill(host)
        used, each_mb, devices = self._machine.used_mb, self._each_mb, self._devices

        def give_back() -> None:
            for device in devices:
                used[device] -= each_mb

        self._world.later(self._machine.plan.release_s, give_back, self._world.nowhere)

    @property
    def _each_mb(self) -> int:
        return -(-self._spec.vram_mb // len(self._devices))

    def _take(self) -> None:
        for device in self._devices:
            self._machine.used_mb[device] += self._each_mb
            used, size = self._machine.used_mb[device], self._machine.sizes_mb[device]
            if used > size:
                where = f"{device} of {self._machine.plan.name}"
                self._world.violate(f"{where} should hold {used} of {size} MB for {self._spec.id}")
