"""A gateway's placement, router and connections in front of scripted neurons on real links."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.fleet_cards import PlacementNotes, fleet_cards
from cortex_actors.gateway.neuron_connection import NeuronAddress, NeuronConnection
from cortex_actors.gateway.placement import Placement, PlacementSettings
from cortex_actors.http import service_view
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.messages import LeaseAsked, Tick
from cortex_actors.serving.request_metrics import RequestMetrics
from cortex_actors.serving.router import Router
from cortex_actors.serving.service_state import merged_models, names
from cortex_actors.serving.state_board import StateBoard
from tests.eventually import eventually
from tests.unit.kit.conftest import Start
from tests.unit.serving.doubles import SOON_S, FakeRequest, Recorder, neuron_state, settle
from transports.clock import ManualClock
from transports.errors import Backpressure
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.fleet import LeaseRequest, ModelState, NeuronState, ServiceState

LOAD_DEADLINE_S = 0.5
CATALOGUE = Catalogue(models=(CatalogueEntry(id="m", source="file:///m.gguf", vram_mb=500),))


class ScriptedNeuron:
    """Listens where gateways connect, says what a test has it say and keeps what it is asked."""

    def __init__(self, reactor: Reactor, own_name: str) -> None:
        self.own_name = own_name
        self.asked: queue.SimpleQueue[IncomingRequest] = queue.SimpleQueue()
        self.on_ask: Callable[[IncomingRequest], None] = self.asked.put
        self._links: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._link: Link | None = None
        me = process_identity("neuron", own_name)
        self.endpoint = reactor.listen("tcp://127.0.0.1:*", me, self).endpoint

    def says(self, *models: ModelState, free_mb: tuple[int, ...] = (1000,)) -> NeuronState:
        """Push a state, as a neuron does at every change; return it."""
        link = self._link = self._link or self._links.get(timeout=SOON_S)
        state = neuron_state(self.own_name, *models, free_mb=free_mb)

        def noted() -> bool:
            try:
                link.note(state)
            except Backpressure:
                return False
            return True

        eventually(noted, SOON_S)
        return state

    def next(self) -> IncomingRequest:
        return self.asked.get(timeout=SOON_S)

    def on_up(self, link: Link) -> None:
        self._links.put(link)

    def on_request(self, request: IncomingRequest) -> None:
        self.on_ask(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        raise AssertionError("gateways note nothing")

    def on_suspect(self, link: Link) -> None:
        pass

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        pass


class GatewayScene:
    """The actors of a gateway that decide; ``neurons`` by the names that the operator gave them."""

    def __init__(self, start: Start, reactor: Reactor, neurons: dict[str, ScriptedNeuron]) -> None:
        self.clock = ManualClock(1000.0)
        self._actors: dict[str, ActorRef] = {"publisher": start(Recorder, name="publisher")}
        self._board: StateBoard[tuple[NeuronState, ...]] = StateBoard(())
        self._notes = StateBoard(PlacementNotes())
        self.placement = self._actors["placement"] = start(
            Placement,
            CATALOGUE,
            self._board,
            self._actors["publisher"],
            self._actors.get,
            self.clock,
            notes=self._notes,
            settings=PlacementSettings(tuple(neurons)),
            name="placement",
        )
        self.router = self._actors["router"] = start(
            Router,
            names(CATALOGUE),
            self.placement,
            RequestMetrics(CollectorRegistry()),
            self._board.read,
            {},
            self.clock,
            name="router",
        )
        for name, neuron in neurons.items():
            self._actors[f"neuron/{name}"] = start(
                NeuronConnection,
                NeuronAddress(name, neuron.endpoint),
                reactor,
                self.placement,
                LOAD_DEADLINE_S,
                name=f"neuron/{name}",
            )

    def connection(self, name: str) -> ActorRef:
        return self._actors[f"neuron/{name}"]

    def neurons(self) -> dict[str, NeuronState]:
        """What the gateway knows of each."""
        return {state.name: state for state in self._board.read()}

    def await_neurons(self, **states: NeuronState) -> None:
        """Wait until the gateway has heard this of them."""

        def heard() -> bool:
            known = self.neurons()
            return all(
                name in known
                and [each.id for each in known[name].models] == [each.id for each in state.models]
                and known[name].devices == state.devices
                for name, state in states.items()
            )

        eventually(heard, SOON_S, f"{states} is known")

    def ask(self, model: str = "m", deadline: float | None = None) -> FakeRequest:
        """Have a front end ask for a lease."""
        wanted = LeaseRequest("id", model)
        request = FakeRequest(wanted, deadline=deadline)
        self.router.tell(LeaseAsked(request, wanted))
        settle(self.router)
        return request

    def passes(self, seconds: float) -> None:
        """Let so much time pass; every actor that looks each second looks once."""
        self.clock.advance(seconds)
        for actor in (self.placement, self.router):
            actor.notify(Tick())
        settle(self.placement, self.router)

    def listed(self, model: str = "m") -> dict[str, Any]:
        """The model in /v1/models; nothing if it is not there."""
        neurons = self._board.read()
        state = ServiceState(
            "cortexd",
            "0",
            True,
            "",
            1.0,
            neurons=neurons,
            models=merged_models(CATALOGUE, neurons),
            cards=fleet_cards(CATALOGUE, {}, neurons, self._notes.read()),
        )
        rows = service_view.models(state)
        return next((msgspec.to_builtins(row) for row in rows if row.id == model), {})
