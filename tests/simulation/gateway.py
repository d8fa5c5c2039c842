"""The gateway's brain: its real actors, connected to every neuron of the schedule."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import cast

from prometheus_client import CollectorRegistry

from cortex_actors.gateway.messages import Pin
from cortex_actors.gateway.neuron_connection import NeuronAddress, NeuronConnection
from cortex_actors.gateway.placement import Placement, PlacementSettings, connection_name
from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.gateway.tree import RECONNECT
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.front_desk import FrontDesk
from cortex_actors.serving.http_metrics import HttpMetrics
from cortex_actors.serving.request_metrics import RequestMetrics
from cortex_actors.serving.router import Router
from cortex_actors.serving.service_state import names
from cortex_actors.serving.state_board import StateBoard
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.nobody import NOBODY
from tests.simulation.schedule import Schedule
from tests.simulation.world import Host, World
from transports.identity import process_identity
from transports.link import IncomingRequest
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import NeuronState
from transports.schemas.link import Failure

# PERF: making Prometheus' objects takes longer than all that is counted in a schedule.
_METRICS = RequestMetrics(CollectorRegistry())
_HTTP_METRICS = HttpMetrics(CollectorRegistry())
_PLACEMENT_METRICS = PlacementMetrics(CollectorRegistry())

MACHINE = "gateway"
ENDPOINT = "ipc://gateway"
LOAD_DEADLINE_S = 40.0


class Gateway:
    """One cortexd without its front end; ``actors`` is where the stage lists all actors."""

    def __init__(
        self,
        world: World,
        network: Network,
        schedule: Schedule,
        endpoints: dict[str, str],
        actors: dict[tuple[Host, str], SupervisedActor],
    ) -> None:
        self.host = Host(world, "gateway", MACHINE)
        self._world = world
        self._network = network
        self._schedule = schedule
        self._endpoints = endpoints
        self._actors = actors
        self._registry = Registry()
        self._board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        with world.inside(self.host):
            self._loop = VirtualLoop(world, network, self.host)
            self._start()

    @property
    def placement(self) -> Placement:
        """The actor itself."""
        return cast(Placement, self._actors[self.host, "placement"])

    @property
    def router(self) -> Router:
        """The actor itself."""
        return cast(Router, self._actors[self.host, "router"])

    def pin(self, model: str, *, pinned: bool) -> None:
        """Be the operator who pins a model, or takes the pin away."""
        self._world.tell(f"{'pin' if pinned else 'unpin'} {model}")
        self.placement.ref.notify(Pin(model, pinned, cast(IncomingRequest, _Operator())))

    def _start(self) -> None:
        world, schedule = self._world, self._schedule
        placement = Placement.start(
            schedule.catalogue,
            self._board,
            NOBODY,
            self._find,
            clock=world,
            settings=PlacementSettings(tuple(self._endpoints), schedule.strategy),
            metrics=_PLACEMENT_METRICS,
            name="placement",
        )
        self._registry.register(placement)
        children = [
            ChildSpec(connection_name(name), partial(self._connection, name, placement))
            for name in self._endpoints
        ]
        Supervisor.start(
            children,
            RECONNECT,
            registry=self._registry,
            jitter=world.rng.random,
            clock=world,
            name="fleet",
        )
        router = Router.start(
            names(schedule.catalogue),
            placement,
            _METRICS,
            self._board.read,
            {},
            clock=world,
            name="router",
        )
        self._registry.register(router)
        desk = FrontDesk(router, NOBODY, NOBODY, DropTotals(), _HTTP_METRICS)
        self._loop.listen(ENDPOINT, process_identity("gateway", "cortexd"), desk)

    def _connection(self, name: str, placement: ActorRef) -> ActorRef:
        return NeuronConnection.start(
            NeuronAddress(name, self._endpoints[name]),
            cast(Reactor, self._loop),
            placement,
            LOAD_DEADLINE_S,
            name=connection_name(name),
        )

    def _find(self, name: str) -> ActorRef | None:
        try:
            return self._registry.find(name)
        except ActorDead:
            return None


class _Operator:
    """A question whose answer nobody reads."""

    def complete(self, body: Body, raw: Iterable[bytes] = ()) -> None:
        pass

    def fail(self, failure: Failure) -> None:
        pass
