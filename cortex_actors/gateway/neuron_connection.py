"""The NeuronConnection actor: owns the link to one neuron, and dies with it.

A new connection is a new incarnation: the supervisor starts a fresh actor, which knows nothing of
what the old one was told. However often a neuron tells its state, only the latest is passed on, and
not more often than every ``REPORT_INTERVAL_S``: a flood from one must not delay the others.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import final

import msgspec

from cortex_actors.gateway.fleet_table import SUSPECT
from cortex_actors.gateway.messages import (
    ActorsAsked,
    CancelLoadOn,
    LinkLost,
    LinkSuspect,
    LinkUp,
    LoadEnded,
    LoadOn,
    NeuronLost,
    NeuronSaid,
    RenewOn,
    UnloadEnded,
    UnloadOn,
)
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import ExitKind, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.load_deadline import load_deadline_s
from cortex_actors.serving.messages import NeuronChanged
from transports.curve import CurveClient
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import (
    Call,
    CallEvent,
    Chunk,
    Completed,
    Failed,
    IncomingRequest,
    Link,
    Lost,
    OnCallEvent,
    Progress,
)
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import (
    ActorTable,
    LoadModel,
    NeuronState,
    QueryActors,
    RenewStandby,
    UnloadModel,
)
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.neuron_connection")

CONNECT_DEADLINE_S = 5.0
REPORT_INTERVAL_S = 0.05
ACTORS_DEADLINE_S = 4.0
"""Less than whoever asks for a neuron's actors waits."""
_HINTS = {"handshake_refused": "; do the keys of both sides fit?"}


@dataclass(frozen=True, slots=True)
class NeuronAddress:
    """Where a neuron listens and how we prove who we are.

    ``name`` is the operator's name for the neuron; it replaces whatever the neuron calls itself.
    ``our_name`` is the owner of our CURVE key, if there is one.
    """

    name: str
    endpoint: str
    our_name: str = "cortexd"
    curve: CurveClient | None = None


@final
class NeuronConnection(SupervisedActor):
    """Connects to a neuron once and passes its pushed state on to ``fleet``."""

    def __init__(
        self, neuron: NeuronAddress, reactor: Reactor, fleet: ActorRef, load_deadline_s: float
    ) -> None:
        super().__init__()
        self._neuron = neuron
        self._name = neuron.name
        self._reactor = reactor
        self._fleet = fleet
        self._load_deadline_s = load_deadline_s
        self._link: Link | None = None
        self._events: _Events | None = None
        self._state: NeuronState | None = None
        self._loads: dict[str, Call] = {}

    def on_start(self) -> None:
        """Begin to connect; LinkUp or LinkLost follows."""
        neuron = self._neuron
        self._events = _Events(self.ref)
        self._reactor.connect(
            neuron.endpoint,
            process_identity("gateway", neuron.our_name),
            self._events,
            deadline_s=CONNECT_DEADLINE_S,
            curve=neuron.curve,
        )

    def on_stop(self, reason: ExitReason) -> None:
        """Forget the neuron; the link goes too, even if it comes up only now."""
        self._fleet.notify(NeuronLost(self._name, self.ref.inc))
        if self._events is not None:
            self._reactor.call_soon(partial(self._events.close, reason.kind))

    def summary(self) -> str:
        """The address and whether it answers."""
        return f"{self._neuron.endpoint} {self._link.state.value if self._link else 'connecting'}"

    @handles(LinkUp)
    def _link_up(self, message: LinkUp) -> None:
        self._link = message.link
        _log.info("connected neuron=%s endpoint=%s", self._name, self._neuron.endpoint)

    @handles(LinkLost)
    def _link_lost(self, message: LinkLost) -> None:
        if self._link is not None:
            _log.warning("lost neuron=%s reason=%s %s", self._name, message.reason, message.detail)
        else:
            _log.warning(
                "not connected neuron=%s endpoint=%s reason=%s %s%s",
                self._name,
                self._neuron.endpoint,
                message.reason,
                message.detail,
                _HINTS.get(message.reason, ""),
            )
        self._link = None
        self.leave(ExitReason(ExitKind.PROTOCOL, message.reason))

    @handles(LinkSuspect)
    def _link_suspect(self, _: LinkSuspect) -> None:
        if self._state is not None:
            self._report(msgspec.structs.replace(self._state, state=SUSPECT))

    @handles(NeuronSaid)
    def _neuron_said(self, _: NeuronSaid) -> None:
        state = self._events.take() if self._events is not None else None
        if state is not None:
            self._report(_renamed(state, self._name))
            self.tell_later(REPORT_INTERVAL_S, NeuronSaid())

    @handles(LoadOn)
    def _load(self, message: LoadOn) -> None:
        model = message.spec.id
        deadline_s = load_deadline_s(self._load_deadline_s, message.spec.vram_mb)
        ended = self._reporting(LoadEnded, model)
        call = self._request(LoadModel(message.spec), ended, deadline_s)
        if call is not None:
            self._loads[model] = call

    @handles(CancelLoadOn)
    def _cancel_load(self, message: CancelLoadOn) -> None:
        call = self._loads.get(message.model)
        if call is not None:
            call.cancel("nobody waits for it any more")

    @handles(RenewOn)
    def _renew(self, _: RenewOn) -> None:
        self._request(RenewStandby(), _ignore)

    @handles(ActorsAsked)
    def _actors_asked(self, message: ActorsAsked) -> None:
        request = message.request

        def on_event(event: CallEvent) -> None:
            match event:
                case Completed(body=ActorTable() as table):
                    request.complete(table)
                case Failed(failure=failure):
                    request.fail(failure)
                case Chunk() | Progress():
                    pass
                case _:
                    text = f"neuron '{self._name}' does not answer"
                    request.fail(Failure(FailureCode.MODEL_UNAVAILABLE, text))

        self._request(QueryActors(), on_event, ACTORS_DEADLINE_S)

    @handles(UnloadOn)
    def _unload(self, message: UnloadOn) -> None:
        body = UnloadModel(message.model, message.keep_warm)
        self._request(body, self._reporting(UnloadEnded, message.model))

    def _reporting(self, ended: type[LoadEnded | UnloadEnded], model: str) -> OnCallEvent:
        fleet, name, me = self._fleet, self._name, self.ref.inc

        def on_event(event: CallEvent) -> None:
            if not isinstance(event, Chunk | Progress):
                fleet.notify(ended(model, name, me, event))

        return on_event

    def _request(
        self, body: Body, on_event: OnCallEvent, deadline_s: float | None = None
    ) -> Call | None:
        if self._link is None:
            on_event(Lost("link_down", f"neuron '{self._name}' is not connected"))
            return None
        try:
            deadline_s = deadline_s or self._load_deadline_s
            return self._link.request(body, on_event, deadline_s=deadline_s)
        except TransportError as error:
            on_event(Lost(error.code, str(error)))
            return None

    def _report(self, state: NeuronState) -> None:
        self._state = state
        self._fleet.notify(NeuronChanged(state))


@final
class _Events:
    """Turns the link's callbacks, on the reactor's thread, into messages to the actor.

    The actor is told once that there is a new state, and takes the latest when it gets to it.
    """

    def __init__(self, actor: ActorRef) -> None:
        self._actor = actor
        self._link: Link | None = None
        self._closed = ""
        self._states: deque[NeuronState] = deque(maxlen=1)
        self._told = False

    def take(self) -> NeuronState | None:
        """Return the latest state since the last call; without one, the next is told at once.

        The actor's thread.
        """
        if not self._states:
            self._told = False
        # SAFETY: looked at again, for one may have come before the flag was down.
        return self._states.pop() if self._states else None

    def close(self, reason: str) -> None:
        self._closed = reason
        if self._link is not None:
            self._link.close(reason)

    def on_up(self, link: Link) -> None:
        if self._closed:
            link.close(self._closed)
            return
        self._link = link
        self._actor.notify(LinkUp(link))

    def on_request(self, request: IncomingRequest) -> None:
        request.fail(Failure(FailureCode.INVALID_REQUEST, "a gateway answers no neuron"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        del link, raw
        if isinstance(body, NeuronState):
            self._states.append(body)
            if not self._told:
                self._told = True
                self._actor.notify(NeuronSaid())

    def on_suspect(self, link: Link) -> None:
        del link
        self._actor.notify(LinkSuspect())

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        del link
        self._actor.notify(LinkLost(reason, detail))


def _renamed(state: NeuronState, name: str) -> NeuronState:
    models = tuple(msgspec.structs.replace(model, neuron=name) for model in state.models)
    return msgspec.structs.replace(state, name=name, models=models)


def _ignore(event: CallEvent) -> None:
    """A neuron that cannot renew its processes goes on with the ones it has."""
    del event
