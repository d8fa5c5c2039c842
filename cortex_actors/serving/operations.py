"""The Operations actor: answers operators' questions and passes their commands on."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from prometheus_client import CollectorRegistry
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
from transports.schemas.link import Failure

Command = Callable[[str, IncomingRequest], None]


@final
class Operations(SupervisedActor):
    """One place for everything that is not inference.

    ``load(model, request)`` and ``unload(model, request)`` hand the request on to whoever answers.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        actors: Callable[[], ActorTable],
        state: Callable[[], ServiceState],
        load: Command,
        unload: Command,
    ) -> None:
        super().__init__()
        self._registry = registry
        self._actors = actors
        self._state = state
        self._load = load
        self._unload = unload

    @handles(OperatorAsked)
    def _asked(self, message: OperatorAsked) -> None:
        request = message.request
        match request.body:
            case QueryMetrics():
                text = generate_latest(self._registry).decode()
                request.complete(MetricsText(text, CONTENT_TYPE_LATEST))
            case QueryActors():
                request.complete(self._actors())
            case QueryState():
                request.complete(self._state())
            case LoadModelById(model=model):
                self._load(model, request)
            case UnloadModel(model=model):
                self._unload(model, request)
            case other:
                name = type(other).__name__
                request.fail(Failure(FailureCode.INVALID_REQUEST, f"{name} is not answered here"))
