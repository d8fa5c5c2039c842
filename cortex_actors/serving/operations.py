"""The Operations actor: answers operators' questions and passes their commands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.serving.messages import OperatorAsked
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.schemas.fleet import (
    ActorTable,
    LoadModelById,
    MetricsText,
    QueryActors,
    QueryMetrics,
    QueryState,
    ServiceState,
    UnloadModel,
)
from transports.schemas.group import InjectFault
from transports.schemas.link import Failure
from transports.schemas.operations import PinModel, PlanLoad, ReloadCatalogue


@dataclass(frozen=True, slots=True)
class FleetCommands:
    """What only a gateway's operators may have done."""

    pin: Callable[[PinModel, IncomingRequest], None]
    plan: Callable[[str, IncomingRequest], None]
    reload: Callable[[IncomingRequest], None]
    actors_of: Callable[[str, IncomingRequest], None]


@dataclass(frozen=True, slots=True)
class Commands:
    """What operators may have done; each hands the request on to whoever answers it."""

    load: Callable[[str, IncomingRequest], None]
    unload: Callable[[str, IncomingRequest], None]
    inject_fault: Callable[[InjectFault, IncomingRequest], None] | None = None
    fleet: FleetCommands | None = None


@final
class Operations(SupervisedActor):
    """One place for everything that is not inference."""

    def __init__(
        self,
        registry: CollectorRegistry,
        actors: Callable[[], ActorTable],
        state: Callable[[], ServiceState],
        commands: Commands,
    ) -> None:
        super().__init__()
        # A gauge beside each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._actors = actors
        self._state = state
        self._commands = commands

    @handles(OperatorAsked)
    def _asked(self, message: OperatorAsked) -> None:
        request = message.request
        match request.body:
            case QueryMetrics():
                text = generate_latest(self._registry).decode()
                request.complete(MetricsText(text, CONTENT_TYPE_LATEST))
            case QueryActors(neuron=neuron):
                self._tell_actors(neuron, request)
            case QueryState():
                request.complete(self._state())
            case LoadModelById(model=model):
                self._commands.load(model, request)
            case UnloadModel(model=model):
                self._commands.unload(model, request)
            case InjectFault() as fault if self._commands.inject_fault is not None:
                self._commands.inject_fault(fault, request)
            case PinModel() as pin if self._commands.fleet is not None:
                self._commands.fleet.pin(pin, request)
            case PlanLoad(model=model) if self._commands.fleet is not None:
                self._commands.fleet.plan(model, request)
            case ReloadCatalogue() if self._commands.fleet is not None:
                self._commands.fleet.reload(request)
            case other:
                name = type(other).__name__
                request.fail(Failure(FailureCode.INVALID_REQUEST, f"{name} is not answered here"))

    def _tell_actors(self, neuron: str, request: IncomingRequest) -> None:
        if not neuron:
            request.complete(self._actors())
        elif self._commands.fleet is not None:
            self._commands.fleet.actors_of(neuron, request)
        else:
            text = "only a gateway has neurons"
            request.fail(Failure(FailureCode.INVALID_REQUEST, text, param="neuron"))
