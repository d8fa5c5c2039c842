"""The gateway's actor tree: who is started after whom (Root, rest_for_one; DESIGN section 3)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import final

from prometheus_client import CollectorRegistry

from cortex_actors.config.gateway_config import GatewayConfig, NeuronEntry
from cortex_actors.config.link_keys import client_keys
from cortex_actors.gateway.messages import OperatorLoad, OperatorUnload
from cortex_actors.gateway.neuron_connection import NeuronAddress, NeuronConnection
from cortex_actors.gateway.placement import Placement, connection_name
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.restart_rules import Backoff, RestartRules, Strategy
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.serving.actor_metrics import ActorMetrics
from cortex_actors.serving.front_desk import FrontDesk
from cortex_actors.serving.front_end import FrontEnd, FrontEndSettings
from cortex_actors.serving.listener import ListenerActor
from cortex_actors.serving.messages import DrainStarted, Tick
from cortex_actors.serving.operations import Commands, Operations
from cortex_actors.serving.publisher import Publisher
from cortex_actors.serving.request_metrics import RequestMetrics
from cortex_actors.serving.router import Router
from cortex_actors.serving.service_state import merged_models, names
from cortex_actors.serving.state_board import StateBoard
from transports.identity import process_identity
from transports.link import IncomingRequest
from transports.reactor import Reactor
from transports.schemas.fleet import NeuronState, ServiceState

# A neuron that is away is retried for ever: its absence is routed around, never escalated.
RECONNECT = RestartRules(intensity=None, backoff=Backoff(first_s=0.5, max_s=30.0, healthy_s=60.0))


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the tree stands on: threads and directories that the daemon made."""

    config: GatewayConfig
    reactor: Reactor
    source: ProcessSource
    runtime_dir: Path


@final
class GatewayTree:
    """Builds every actor of the gateway.

    References go to actors that were started earlier; what is started later is found by its name in
    the registry, because a restart gives it a new reference.
    """

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._config = parts.config
        self.registry = Registry()
        self._metrics = CollectorRegistry()
        self._request_metrics = RequestMetrics(self._metrics)
        self._board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        self._started = time.monotonic()
        self._draining = False
        ActorMetrics(self.registry, parts.reactor, "cortex").register(self._metrics)

    def start(self) -> ActorRef:
        """Start Root; its ``ready`` tells when all is up."""
        steps = (
            ("publisher", self._publisher),
            ("placement", self._placement),
            ("fleet", self._fleet),
            ("router", self._router),
            ("operations", self._operations),
            ("front_desk", self._front_desk),
            ("front_end", self._front_end),
        )
        shutdown_s = {"front_end": self._config.gateway.drain_s + 8.0}
        specs = tuple(
            ChildSpec(name, partial(start, name), shutdown_s=shutdown_s.get(name, 5.0))
            for name, start in steps
        )
        rules = RestartRules(strategy=Strategy.REST_FOR_ONE, intensity=3, period_s=60.0)
        root = Supervisor.start(specs, rules, registry=self.registry, name="root")
        self.registry.register(root)
        return root

    def begin_drain(self) -> None:
        """Turn readiness off and grant nothing new; what runs goes on."""
        self._draining = True
        for name, news in (("publisher", Tick()), ("router", DrainStarted())):
            actor = self._find(name)
            if actor is not None:
                actor.notify(news)

    def service_state(self) -> ServiceState:
        """The snapshot that front ends are pushed."""
        neurons = self._board.read()
        reason = self._unready(neurons)
        return ServiceState(
            service="cortexd",
            version=version("cortex"),
            ready=not reason,
            reason=reason,
            uptime_s=round(time.monotonic() - self._started, 3),
            neurons=neurons,
            models=merged_models(self._config.catalogue, neurons),
            aliases=dict(self._config.catalogue.aliases),
        )

    def _unready(self, neurons: tuple[NeuronState, ...]) -> str:
        if self._draining:
            return "shutting down"
        return "" if any(neuron.state == "up" for neuron in neurons) else "no neuron is connected"

    def _find(self, name: str) -> ActorRef | None:
        try:
            return self.registry.find(name)
        except ActorDead:
            return None

    def _publisher(self, name: str) -> ActorRef:
        return Publisher.start(self.service_state, name=name)

    def _placement(self, name: str) -> ActorRef:
        publisher = self.registry.find("publisher")
        return Placement.start(
            self._config.catalogue, self._board, publisher, self._find, name=name
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
            self._parts.reactor,
            placement,
            self._config.gateway.load_deadline_s,
            name=connection_name(entry.name),
        )

    def _router(self, name: str) -> ActorRef:
        placement = self.registry.find("placement")
        return Router.start(
            names(self._config.catalogue),
            placement,
            self._request_metrics,
            self._board.read,
            self._server_keys(),
            name=name,
        )

    def _server_keys(self) -> dict[str, str]:
        keys = {entry.name: client_keys(self._config, entry) for entry in self._config.neurons}
        return {name: key.server_public.decode() for name, key in keys.items() if key is not None}

    def _operations(self, name: str) -> ActorRef:
        placement = self.registry.find("placement")

        def load(model: str, request: IncomingRequest) -> None:
            placement.notify(OperatorLoad(model, request))

        def unload(model: str, request: IncomingRequest) -> None:
            placement.notify(OperatorUnload(model, request))

        return Operations.start(
            self._metrics,
            self.registry.table,
            self.service_state,
            Commands(load, unload),
            name=name,
        )

    @property
    def _front_endpoint(self) -> str:
        return f"ipc://{self._parts.runtime_dir}/front.ipc"

    def _front_desk(self, name: str) -> ActorRef:
        desk = FrontDesk(
            self.registry.find("router"),
            self.registry.find("publisher"),
            self.registry.find("operations"),
        )
        me = process_identity("gateway", "cortexd")
        return ListenerActor.start(self._parts.reactor, self._front_endpoint, me, desk, name=name)

    def _front_end(self, name: str) -> ActorRef:
        settings = self._config.gateway
        front_end = FrontEndSettings(
            service="gateway",
            listen=str(settings.listen),
            metrics_listen=str(settings.metrics_listen),
            daemon_endpoint=self._front_endpoint,
            workers=settings.workers,
            threads=settings.threads,
            max_body_mb=settings.max_body_mb,
            load_deadline_s=settings.load_deadline_s,
            drain_s=settings.drain_s,
            log_level=settings.log_level,
            key_file=settings.key_file,
        )
        return FrontEnd.start(front_end, self._parts.source, name=name)
