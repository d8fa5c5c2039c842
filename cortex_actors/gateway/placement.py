"""The Placement actor: the only one in the gateway that has models loaded or unloaded.

It also keeps the fleet's one snapshot, since every decision it makes is made on that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import msgspec

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.gateway.messages import (
    LoadEnded,
    LoadOn,
    NeuronLost,
    OperatorLoad,
    OperatorUnload,
    UnloadEnded,
    UnloadOn,
)
from cortex_actors.gateway.placement_policy import RETRY_AFTER_S, place
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.messages import (
    EnsureLoaded,
    FleetChanged,
    LoadFinished,
    NeuronChanged,
    Tick,
)
from cortex_actors.serving.routing import servable
from cortex_actors.serving.state_board import StateBoard
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.link import CallEvent, Completed, Failed, IncomingRequest, Lost
from transports.schemas.fleet import ModelLoaded, ModelSpec, ModelUnloaded, NeuronState
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.placement")

Find = Callable[[str], ActorRef | None]


@dataclass(slots=True)
class _Load:
    """One load under way; everyone who wants the model attaches to it."""

    neuron: str
    connection: int
    since: float
    routers: dict[int, ActorRef] = field(default_factory=dict)
    requests: list[IncomingRequest] = field(default_factory=list)


@dataclass(slots=True)
class _Unload:
    """One model's unload; ``connections`` are those that have not answered yet."""

    connections: set[int]
    requests: list[IncomingRequest] = field(default_factory=list)
    failure: Failure | None = None


@final
class Placement(SupervisedActor):
    """Single-flight loads on the neuron that the policy names.

    ``board`` is written here alone. ``find`` looks an actor up by its registered name: connections
    and the router are started later and may be restarted at any time.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        board: StateBoard[tuple[NeuronState, ...]],
        publisher: ActorRef,
        find: Find,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._catalogue = catalogue
        self._board = board
        self._publisher = publisher
        self._find = find
        self._clock = clock or MonotonicClock()
        self._neurons: dict[str, NeuronState] = {}
        self._loads: dict[str, _Load] = {}
        self._unloads: dict[str, _Unload] = {}

    def on_start(self) -> None:
        """Begin with no neuron: what an earlier incarnation knew holds no more."""
        self._announce()

    def summary(self) -> str:
        """Loads under way."""
        loads = " ".join(f"{model}@{load.neuron}" for model, load in self._loads.items())
        return f"neurons={len(self._neurons)} loading={loads or 'none'}"

    @handles(NeuronChanged)
    def _neuron_changed(self, message: NeuronChanged) -> None:
        self._neurons[message.state.name] = message.state
        self._announce()

    @handles(NeuronLost)
    def _neuron_lost(self, message: NeuronLost) -> None:
        known = self._neurons.get(message.name)
        if known is not None:
            self._neurons[message.name] = msgspec.structs.replace(known, state="down", models=())
            self._announce()
        # What the dead connection did not get to send has no other end than this.
        lost = Lost("link_down", "its connection ended")
        for model in list(self._loads):
            self._load_ended(LoadEnded(model, message.name, message.connection, lost))
        for model in list(self._unloads):
            self._unload_ended(UnloadEnded(model, message.name, message.connection, lost))

    @handles(EnsureLoaded)
    def _ensure_loaded(self, message: EnsureLoaded) -> None:
        load = self._load(message.model)
        if isinstance(load, _Load):
            load.routers[message.reply_to.inc] = message.reply_to
        else:
            message.reply_to.notify(LoadFinished(message.model, load))

    @handles(OperatorLoad)
    def _operator_load(self, message: OperatorLoad) -> None:
        model = self._catalogue.resolve(message.model)
        load = self._load(model)
        if isinstance(load, Failure):
            message.request.fail(load)
        elif load is None:
            message.request.complete(ModelLoaded(model, 0.0))
        else:
            load.requests.append(message.request)

    @handles(OperatorUnload)
    def _operator_unload(self, message: OperatorUnload) -> None:
        model = self._catalogue.resolve(message.model)
        unload = self._unloads.get(model) or self._begin_unload(model)
        if unload is None:
            text = f"model '{message.model}' is not loaded on any neuron"
            message.request.fail(Failure(FailureCode.MODEL_NOT_FOUND, text, param="model"))
        else:
            unload.requests.append(message.request)

    @handles(UnloadEnded)
    def _unload_ended(self, message: UnloadEnded) -> None:
        unload = self._unloads.get(message.model)
        if unload is None or message.connection not in unload.connections:
            return
        unload.connections.remove(message.connection)
        unload.failure = unload.failure or _failure_of(message)
        if unload.connections:
            return
        del self._unloads[message.model]
        for request in unload.requests:
            if unload.failure is None:
                request.complete(ModelUnloaded(message.model))
            else:
                request.fail(unload.failure)

    @handles(LoadEnded)
    def _load_ended(self, message: LoadEnded) -> None:
        load = self._loads.get(message.model)
        if load is None or load.connection != message.connection:
            return
        del self._loads[message.model]
        failure = _failure_of(message)
        for router in load.routers.values():
            router.notify(LoadFinished(message.model, failure))
        load_s = self._clock.now() - load.since
        for request in load.requests:
            if failure is None:
                request.complete(ModelLoaded(message.model, load_s))
            else:
                request.fail(failure)

    def _load(self, model: str) -> _Load | Failure | None:
        """The load under way or begun now; None when the model is ready already."""
        entry = self._catalogue.find(model)
        if entry is None:
            text = f"model '{model}' is not in the catalogue"
            return Failure(FailureCode.MODEL_NOT_FOUND, text, param="model")
        if servable(entry.id, self._neurons.values()):
            return None
        return self._loads.get(entry.id) or self._begin(entry.spec())

    def _begin(self, spec: ModelSpec) -> _Load | Failure:
        holder = self._coming(spec.id)
        neuron = holder or place(spec, self._neurons.values())
        if isinstance(neuron, Failure):
            return neuron
        connection = self._find(connection_name(neuron))
        if connection is None:
            text = f"neuron '{neuron}' reconnects"
            return Failure(FailureCode.MODEL_UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
        load = self._loads[spec.id] = _Load(neuron, connection.inc, self._clock.now())
        _log.info("load model=%s neuron=%s", spec.id, neuron)
        connection.notify(LoadOn(spec))
        return load

    def _begin_unload(self, model: str) -> _Unload | None:
        holders = [
            self._find(connection_name(neuron.name))
            for neuron in self._neurons.values()
            if any(state.id == model for state in neuron.models)
        ]
        connections = [holder for holder in holders if holder is not None]
        if not connections:
            return None
        for connection in connections:
            connection.notify(UnloadOn(model))
        unload = self._unloads[model] = _Unload({connection.inc for connection in connections})
        return unload

    def _coming(self, model: str) -> str | None:
        """The neuron on which the model is on its way already."""
        return next(
            (
                neuron.name
                for neuron in self._neurons.values()
                for state in neuron.models
                if state.id == model and state.state in _COMING
            ),
            None,
        )

    def _announce(self) -> None:
        self._board.write(tuple(self._neurons.values()))
        self._publisher.notify(Tick())
        router = self._find("router")
        if router is not None:
            router.notify(FleetChanged())


_COMING = frozenset({"preparing", "starting", "recovering"})


def connection_name(neuron: str) -> str:
    """The registered name of a neuron's connection actor."""
    return f"neuron/{neuron}"


def _failure_of(ended: LoadEnded | UnloadEnded) -> Failure | None:
    doing = "loading" if isinstance(ended, LoadEnded) else "unloading"
    match ended.event:
        case Completed():
            return None
        case Failed(failure):
            return failure
        case other:
            text = f"neuron '{ended.neuron}' was lost while {doing} '{ended.model}'{_why(other)}"
            return Failure(FailureCode.LINK_LOST, text, retry_after_s=RETRY_AFTER_S)


def _why(event: CallEvent) -> str:
    return f": {event.detail or event.reason}" if isinstance(event, Lost) else ""
