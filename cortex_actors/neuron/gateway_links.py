"""Where the links of gateways end on a neuron. Runs on the reactor's thread, hence only tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import LoadAsked, RenewAsked, UnloadAsked
from cortex_actors.serving.messages import SubscriberGone, SubscriberUp
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.fleet import (
    ActorTable,
    LoadModel,
    QueryActors,
    RenewStandby,
    StandbyRenewed,
    UnloadModel,
)
from transports.schemas.link import Failure


@final
class GatewayLinks:
    """A ``LinkHandler``: subscribes each gateway to the neuron's state and takes its commands."""

    def __init__(
        self,
        publisher: ActorRef,
        models: ActorRef,
        fork_server: ActorRef,
        actors: Callable[[], ActorTable] = lambda: ActorTable(()),
    ) -> None:
        self._actors = actors
        self._publisher = publisher
        self._models = models
        self._fork_server = fork_server

    def on_up(self, link: Link) -> None:
        """Start to push the state to the newcomer."""
        self._publisher.notify(SubscriberUp(link))

    def on_request(self, request: IncomingRequest) -> None:
        """Pass a command on."""
        match request.body:
            case LoadModel(spec=spec):
                self._models.notify(LoadAsked(spec, request))
            case UnloadModel(model=model, keep_warm=keep_warm):
                self._models.notify(UnloadAsked(model, request, keep_warm))
            case RenewStandby():
                self._fork_server.notify(RenewAsked())
                request.complete(StandbyRenewed())
            case QueryActors():
                request.complete(self._actors())
            case other:
                name = type(other).__name__
                request.fail(Failure(FailureCode.INVALID_REQUEST, f"a neuron answers no {name}"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Gateways ask; they have nothing to report."""

    def on_suspect(self, link: Link) -> None:
        """A silent gateway is still told the state until its link is down."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """Stop telling it."""
        del reason, detail
        self._publisher.notify(SubscriberGone(link))
