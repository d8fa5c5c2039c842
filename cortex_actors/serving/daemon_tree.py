"""What both daemons' trees have in common: Root, the registry, the way to the front end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from prometheus_client import CollectorRegistry

from cortex_actors.config.address import Address
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.stored_responses import StoredResponses
from cortex_actors.config.telemetry import TelemetrySettings
from cortex_actors.kit.children import ChildSpec
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.registry import Registry
from cortex_actors.kit.restart_rules import Backoff, RestartRules, Strategy
from cortex_actors.kit.supervisor import Supervisor
from cortex_actors.serving.actor_metrics import ActorMetrics
from cortex_actors.serving.drop_totals import DropTotals
from cortex_actors.serving.front_desk import FrontDesk
from cortex_actors.serving.front_end import FrontEnd, FrontEndSettings
from cortex_actors.serving.http_metrics import HttpMetrics
from cortex_actors.serving.listener import ListenerActor
from cortex_actors.serving.messages import DrainStarted, Tick
from cortex_actors.serving.request_metrics import RequestMetrics
from transports.identity import process_identity
from transports.reactor import Reactor

_log = logging.getLogger("cortex.daemon")

CHILD_SHUTDOWN_S = 5.0
FRONT_END_SLACK_S = 8.0
# The wait lets a killed front end's workers, which share its listening socket, go first.
ROOT_RULES = RestartRules(
    strategy=Strategy.REST_FOR_ONE,
    intensity=3,
    period_s=60.0,
    backoff=Backoff(first_s=0.5, max_s=5.0, healthy_s=60.0),
)

StartActor = Callable[[str], ActorRef]


class ServingSettings(Protocol):
    """What both configuration files say about the HTTP front end."""

    listen: Address
    workers: int
    threads: int
    max_body_mb: int
    cors_origins: tuple[str, ...]
    api_keys: ApiKeySettings
    load_deadline_s: float
    stall_s: float
    drain_s: float
    key_file: Path | None
    stored_responses: StoredResponses
    telemetry: TelemetrySettings

    @property
    def log_level(self) -> str:
        """What is logged at least."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
    """What a tree stands on: threads and directories that the daemon made."""

    reactor: Reactor
    source: ProcessSource
    runtime_dir: Path


class DaemonTree:
    """Base of the trees.

    References go to actors that were started earlier; what is started later is found by its name in
    the registry, because a restart gives it a new reference.
    """

    service: ClassVar[str]
    metrics_prefix: ClassVar[str]
    front_publisher: ClassVar[str]
    """The name of the actor that pushes the state to front ends."""

    publishers: ClassVar[tuple[str, ...]]
    """All that push a state which says whether this daemon drains."""

    drained: ClassVar[tuple[str, ...]] = ("router",)
    """Who is told that nothing new may be accepted."""

    def __init__(self, ground: Ground, name: str, serving: ServingSettings) -> None:
        self._ground = ground
        self._name = name
        self._serving = serving
        self.registry = Registry()
        self._metrics = CollectorRegistry()
        self._request_metrics = RequestMetrics(self._metrics)
        self._http_metrics = HttpMetrics(self._metrics)
        self._started = time.monotonic()
        self._draining = False
        self.drops = DropTotals()
        figures = ActorMetrics(self.registry, ground.reactor, self.drops, self.metrics_prefix)
        figures.register(self._metrics)

    def begin_drain(self) -> None:
        """Turn readiness off and grant nothing new; what runs goes on."""
        self._draining = True
        news = [(name, Tick()) for name in self.publishers]
        for name, message in [*news, *((name, DrainStarted()) for name in self.drained)]:
            actor = self._find(name)
            if actor is not None:
                actor.notify(message)

    def reload(self) -> None:
        """Read again what can be read again while running: here, nothing."""
        _log.info("nothing to reload")

    def _start_root(
        self, steps: Mapping[str, StartActor], shutdown_s: Mapping[str, float] | None = None
    ) -> ActorRef:
        """Start Root with these children, in order."""
        limits = {"front_end": self._serving.drain_s + FRONT_END_SLACK_S, **(shutdown_s or {})}
        specs = tuple(
            ChildSpec(name, partial(start, name), shutdown_s=limits.get(name, CHILD_SHUTDOWN_S))
            for name, start in steps.items()
        )
        root = Supervisor.start(specs, ROOT_RULES, registry=self.registry, name="root")
        self.registry.register(root)
        return root

    def _find(self, name: str) -> ActorRef | None:
        try:
            return self.registry.find(name)
        except ActorDead:
            return None

    def _uptime_s(self) -> float:
        return round(time.monotonic() - self._started, 3)

    @property
    def _front_endpoint(self) -> str:
        return f"ipc://{self._ground.runtime_dir}/front.ipc"

    def _front_desk(self, name: str) -> ActorRef:
        desk = FrontDesk(
            self.registry.find("router"),
            self.registry.find(self.front_publisher),
            self.registry.find("operations"),
            self.drops,
            self._http_metrics,
        )
        me = process_identity(self.service, self._name)
        return ListenerActor.start(self._ground.reactor, self._front_endpoint, me, desk, name=name)

    def _start_front_end(self, name: str, metrics_listen: Address | None) -> ActorRef:
        serving = self._serving
        stored = serving.stored_responses
        settings = FrontEndSettings(
            service=self.service,
            listen=str(serving.listen),
            metrics_listen=None if metrics_listen is None else str(metrics_listen),
            daemon_endpoint=self._front_endpoint,
            workers=serving.workers,
            threads=serving.threads,
            max_body_mb=serving.max_body_mb,
            cors_origins=serving.cors_origins,
            api_keys=serving.api_keys,
            load_deadline_s=serving.load_deadline_s,
            stall_s=serving.stall_s,
            drain_s=serving.drain_s,
            log_level=serving.log_level,
            key_file=serving.key_file,
            responses_file=stored.file or self._ground.runtime_dir / "responses.sqlite",
            stored_responses=stored,
            otlp_endpoint=serving.telemetry.otlp_endpoint,
        )
        return FrontEnd.start(settings, self._ground.source, name=name)
