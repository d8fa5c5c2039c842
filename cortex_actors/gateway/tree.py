"""The gateway's actor tree: who is started after whom (Root, rest_for_one; DESIGN section 3)."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import final

from cortex_actors.config.gateway_config import GatewayConfig, NeuronEntry
from cortex_actors.config.link_keys import client_keys
from cortex_actors.config.loader import reload_catalogue
from cortex_actors.gateway.catalogue_keeper import CatalogueInForce, CatalogueKeeper
from cortex_actors.gateway.figure_ages import aged
from cortex_actors.gateway.fleet_cards import PlacementNotes, fleet_cards
from cortex_actors.gateway.messages import (
    ActorsAsked,
    OperatorLoad,
    OperatorUnload,
    Pin,
    Plan,
    ReloadAsked,
)
from cortex_actors.gateway.neuron_connection import NeuronAddress, NeuronConnection
from cortex_actors.gateway.placement import Placement, PlacementSettings, connection_name
from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.restart_rules import Backoff, RestartRules
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.serving.abilities import unfit
from cortex_actors.serving.daemon_tree import DaemonTree, Ground
from cortex_actors.serving.fleet_metrics import FleetMetrics
from cortex_actors.serving.operations import Commands, FleetCommands, Operations
from cortex_actors.serving.publisher import Publisher
from cortex_actors.serving.router import Router
from cortex_actors.serving.service_state import chains, first_targets, merged_models, names
from cortex_actors.serving.state_board import StateBoard
from transports.clock import MonotonicClock
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.schemas.fleet import NeuronState, ServiceState
from transports.schemas.link import Failure
from transports.schemas.operations import PinModel

# PERF: finding it out reads the installed metadata, and it is told with every push.
_VERSION = version("cortex")

# A neuron that is away is retried for ever: its absence is routed around, never escalated.
RECONNECT = RestartRules(intensity=None, backoff=Backoff(first_s=0.5, max_s=30.0, healthy_s=60.0))


@final
class GatewayTree(DaemonTree):
    """Builds every actor of the gateway."""

    service = "gateway"
    metrics_prefix = "cortex"
    front_publisher = "publisher"
    publishers = ("publisher",)

    def __init__(self, config: GatewayConfig, ground: Ground) -> None:
        super().__init__(ground, "cortexd", config.gateway)
        self._config = config
        self._board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        self._clock = MonotonicClock()
        FleetMetrics(self.neuron_states, self.metrics_prefix).register(self._metrics)
        self._placement_metrics = PlacementMetrics(self._metrics)
        self._notes = StateBoard(PlacementNotes(config.catalogue.pinned()))
        first = CatalogueInForce(config.catalogue)
        self._catalogue = StateBoard(first.followed_by(config.catalogue, self._written_at()))

    def start(self) -> ActorRef:
        """Start Root; its ``ready`` tells when all is up."""
        return self._start_root(
            {
                "publisher": self._publisher,
                "placement": self._placement,
                "catalogue": self._keeper,
                "fleet": self._fleet,
                "router": self._router,
                "operations": self._operations,
                "front_desk": self._front_desk,
                "front_end": self._front_end,
            }
        )

    def neuron_states(self) -> tuple[NeuronState, ...]:
        """The fleet as it was told, and how long ago that was. Any thread."""
        return aged(self._board.read(), self._notes.read().heard, self._clock.now())

    def service_state(self) -> ServiceState:
        """The snapshot that front ends are pushed."""
        neurons, in_force = self.neuron_states(), self._catalogue.read()
        catalogue = in_force.catalogue
        reason = self._unready(neurons)
        return ServiceState(
            service="cortexd",
            version=_VERSION,
            ready=not reason,
            reason=reason,
            uptime_s=self._uptime_s(),
            neurons=neurons,
            models=merged_models(catalogue, neurons),
            aliases=first_targets(catalogue),
            cards=fleet_cards(catalogue, in_force.created, neurons, self._notes.read()),
            chains=chains(catalogue),
        )

    def reload(self) -> None:
        """Have the catalogue read again, and the differences logged."""
        keeper = self._find("catalogue")
        if keeper is not None:
            keeper.notify(ReloadAsked())

    def _written_at(self) -> int:
        try:
            return int(self._config.models.stat().st_mtime)
        except OSError:
            return 0

    def _keeper(self, name: str) -> ActorRef:
        read = partial(reload_catalogue, self._config)
        return CatalogueKeeper.start(self._catalogue, read, self._written_at, self._find, name=name)

    def _unready(self, neurons: tuple[NeuronState, ...]) -> str:
        if self._draining:
            return "shutting down"
        return "" if any(neuron.state == "up" for neuron in neurons) else "no neuron is connected"

    def _publisher(self, name: str) -> ActorRef:
        return Publisher.start(self.service_state, name=name)

    def _placement(self, name: str) -> ActorRef:
        publisher = self.registry.find("publisher")
        eviction = self._config.eviction
        return Placement.start(
            self._catalogue.read().catalogue,
            self._board,
            publisher,
            self._find,
            settings=PlacementSettings(
                neurons=tuple(entry.name for entry in self._config.neurons),
                strategy=eviction.strategy,
                defrag_after_cycles=eviction.defrag_after_cycles,
            ),
            notes=self._notes,
            metrics=self._placement_metrics,
            name=name,
        )

    def _fleet(self, name: str) -> ActorRef:
        placement = self.registry.find("placement")
        connections = tuple(
            ChildSpec(connection_name(entry.name), partial(self._connection, entry, placement))
            for entry in self._config.neurons
        )
        return Supervisor.start(connections, RECONNECT, registry=self.registry, name=name)

    def _connection(self, entry: NeuronEntry, placement: ActorRef) -> ActorRef:
        key_file = self._config.gateway.key_file
        address = NeuronAddress(
            entry.name,
            str(entry.endpoint),
            key_file.stem if key_file is not None else "cortexd",
            client_keys(self._config, entry),
        )
        return NeuronConnection.start(
            address,
            self._ground.reactor,
            placement,
            self._config.gateway.load_deadline_s,
            name=connection_name(entry.name),
        )

    def _router(self, name: str) -> ActorRef:
        placement = self.registry.find("placement")
        return Router.start(
            names(self._catalogue.read().catalogue),
            placement,
            self._request_metrics,
            self._board.read,
            self._server_keys(),
            unfit=self._unfit,
            name=name,
        )

    def _unfit(self, model: str, task: str) -> Failure | None:
        return unfit(model, task, self._catalogue.read().catalogue, self._board.read())

    def _server_keys(self) -> dict[str, str]:
        keys = {entry.name: client_keys(self._config, entry) for entry in self._config.neurons}
        return {name: key.server_public.decode() for name, key in keys.items() if key is not None}

    def _operations(self, name: str) -> ActorRef:
        placement = self.registry.find("placement")
        keeper = self.registry.find("catalogue")

        def load(model: str, request: IncomingRequest) -> None:
            placement.notify(OperatorLoad(model, request))

        def unload(model: str, request: IncomingRequest) -> None:
            placement.notify(OperatorUnload(model, request))

        def pin(wanted: PinModel, request: IncomingRequest) -> None:
            placement.notify(Pin(wanted.model, wanted.pinned, request))

        def plan(model: str, request: IncomingRequest) -> None:
            placement.notify(Plan(model, request))

        def reload(request: IncomingRequest) -> None:
            keeper.notify(ReloadAsked(request))

        def actors_of(neuron: str, request: IncomingRequest) -> None:
            connection = self._find(connection_name(neuron))
            if connection is None:
                text = f"neuron '{neuron}' is not connected"
                request.fail(Failure(FailureCode.INVALID_REQUEST, text, param="neuron"))
            else:
                connection.notify(ActorsAsked(request))

        return Operations.start(
            self._metrics,
            self.registry.table,
            self.service_state,
            Commands(load, unload, fleet=FleetCommands(pin, plan, reload, actors_of)),
            name=name,
        )

    def _front_end(self, name: str) -> ActorRef:
        return self._start_front_end(name, self._config.gateway.metrics_listen)
