"""One neuron: the real actors that keep its models, on a machine that is simulated.

It has no warm tier and nothing to renew (decision 20): every model that is unloaded ends.
"""

from __future__ import annotations

from typing import cast

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.kit.asking import Future
from cortex_actors.kit.children import ChildSpec, StartChild
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.restart_rules import GiveUp, Restart, RestartRules
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.neuron.device_monitor import DeviceMonitor
from cortex_actors.neuron.device_table import DeviceTable, Placed
from cortex_actors.neuron.gateway_links import GatewayLinks
from cortex_actors.neuron.messages import DevicesMeasured, ModelsChanged
from cortex_actors.neuron.model import Model, Placement
from cortex_actors.neuron.model_history import Timeline
from cortex_actors.neuron.model_processes import ModelProcesses
from cortex_actors.neuron.models import Models
from cortex_actors.neuron.reporter import Reporter
from cortex_actors.serving.publisher import Publisher
from cortex_actors.serving.state_board import StateBoard
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.nobody import NOBODY
from tests.simulation.processes import Machine, Processes
from tests.simulation.schedule import NeuronPlan
from tests.simulation.world import Host, World
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.fleet import DeviceState, LoadModel, ModelSpec, NeuronState

DRAIN_S = 5.0
RESTARTS = 5


class Neuron:
    """A machine with a neurond on it, that can go and come back."""

    def __init__(
        self, world: World, network: Network, plan: NeuronPlan, catalogue: Catalogue
    ) -> None:
        self.plan = plan
        self.endpoint = f"tcp://{plan.name}:13132"
        self.machine = Machine(plan)
        self._world = world
        self._network = network
        self._catalogue = catalogue
        self.host = self._boot()

    @property
    def hosts(self) -> list[Host]:
        """Every process on the machine."""
        engines = [each.host for each in self.machine.running.values()]
        return [self.host, *(host for host in engines if host is not None)]

    def kill(self, *, silently: bool = False) -> None:
        """End every process on it; ``silently`` when the machine itself is gone."""
        self._world.tell(f"{self.plan.name} {'is lost' if silently else 'is killed'}")
        for host in self.hosts:
            self._network.kill(host, silently=silently)

    def restart(self) -> None:
        """Start neurond again, with nothing loaded."""
        if not self.host.alive:
            self._network.back_up(self.plan.name)
            self.machine.reboot()
            self.host = self._boot()
            self._world.tell(f"{self.plan.name} is back")

    # -- neurond --------------------------------------------------------------------------------

    def _boot(self) -> Host:
        host = Host(self._world, self.plan.name, self.plan.name)
        with self._world.inside(host):
            self._start(host)
        return host

    def _start(self, host: Host) -> None:
        world, plan = self._world, self.plan
        loop = VirtualLoop(world, self._network, host)
        board = StateBoard(NeuronState(plan.name, host.boot, "1", plan.name, 0.0, (), ()))
        timeline = StateBoard(Timeline())
        publisher = Publisher.start(board.read, name="publisher/gateways")
        reporter = Reporter.start(
            board, [publisher], lambda _: None, timeline=timeline, clock=world, name="reporter"
        )
        loaded = Supervisor.start(
            (),
            RestartRules(intensity=5, period_s=600.0, give_up=GiveUp.FAIL_CHILD),
            jitter=world.rng.random,
            clock=world,
            name="models/loaded",
        )

        def measured(figures: DevicesMeasured) -> None:
            for listener in (reporter, models):
                listener.notify(figures)

        def changed(states: ModelsChanged) -> None:
            for listener in (reporter, devices):
                listener.notify(states)

        def start_model(spec: ModelSpec, placed: Placed, owner: ActorRef) -> Future[ActorRef]:
            processes = Processes(world, self._network, self.machine, spec, placed.devices)
            placement = Placement(spec, placed.devices, plan.name, DRAIN_S, RESTARTS)

            def start() -> ActorRef:
                stand_in = cast(ModelProcesses, processes)
                return Model.start(placement, owner, stand_in, name=f"model/{spec.id}")

            child = ChildSpec(f"model/{spec.id}", start, restart=Restart.TEMPORARY)
            return loaded.ask_async(StartChild(child), deadline_s=35.0)

        devices = DeviceMonitor.start(self._measure(), self._measure, measured, name="devices")
        models = Models.start(
            self._catalogue,
            DeviceTable(self.machine.sizes_mb),
            start_model,
            changed,
            clock=world,
            name="models",
        )
        handler = _StrictLinks(world, GatewayLinks(publisher, models, NOBODY))
        loop.listen(self.endpoint, process_identity("neuron", plan.name), handler)

    def _measure(self) -> tuple[DeviceState, ...]:
        used = self.machine.used_mb
        return tuple(
            DeviceState(id_, "cpu", "A CPU", size, max(size - used[id_], 0))
            for id_, size in self.machine.sizes_mb.items()
        )


class _StrictLinks:
    """A ``LinkHandler`` that notices a load that is asked for twice at the same time."""

    def __init__(self, world: World, inner: GatewayLinks) -> None:
        self._world = world
        self._inner = inner
        self.on_up = inner.on_up
        self.on_suspect = inner.on_suspect
        self.on_down = inner.on_down

    def on_request(self, request: IncomingRequest) -> None:
        """Look, and pass it on."""
        self._world.tell(f"is asked: {request.body}")
        if isinstance(request.body, LoadModel):
            model = request.body.spec.id
            open_ = [each for each in _open_loads(request.link) if each == model]
            if len(open_) > 1:
                self._world.violate(f"{model} is asked for while it is being loaded for the asker")
        self._inner.on_request(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Gateways note nothing."""


def _open_loads(link: Link) -> list[str]:
    incoming = link._incoming.values()  # type: ignore[attr-defined]
    return [each.body.spec.id for each in incoming if isinstance(each.body, LoadModel)]
