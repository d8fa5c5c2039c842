"""The Placement actor: the only one in the gateway that has models loaded or unloaded.

It also keeps the fleet's one snapshot, since every decision it makes is made on that. The rules are
``PlacementMachine``'s; this carries out its effects.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, final

from prometheus_client import CollectorRegistry

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.gateway.fleet_cards import PlacementNotes
from cortex_actors.gateway.load_plan import plan
from cortex_actors.gateway.messages import (
    CancelLoadOn,
    CatalogueChanged,
    LoadEnded,
    LoadOn,
    NeuronLost,
    OperatorLoad,
    OperatorUnload,
    Pin,
    Plan,
    RenewOn,
    UnloadEnded,
    UnloadOn,
)
from cortex_actors.gateway.placement_effects import (
    CancelLoad,
    Effect,
    Effects,
    Loaded,
    RenewWorkers,
    StartLoad,
    StartUnload,
    Unloaded,
    Waiter,
)
from cortex_actors.gateway.placement_machine import Phase, PlacementMachine
from cortex_actors.gateway.placement_metrics import PlacementMetrics
from cortex_actors.gateway.refusals import RETRY_AFTER_S, unknown
from cortex_actors.gateway.victims import Strategy
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.messages import (
    EnsureLoaded,
    FleetChanged,
    LoadFinished,
    LoadUnwanted,
    NeuronChanged,
    ReplicaInUse,
    Requested,
    Tick,
)
from cortex_actors.serving.state_board import StateBoard
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.link import CallEvent, Completed, Failed, Lost
from transports.schemas.fleet import ModelLoaded, ModelUnloaded, NeuronState
from transports.schemas.link import Failure
from transports.schemas.operations import ModelPinned

_log = logging.getLogger("cortex.placement")

TICK_S: Final = 1.0

Find = Callable[[str], ActorRef | None]
Answer = Callable[[Loaded | Unloaded], None]


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """What the configuration says: which neurons there should be, and of making room.

    A neuron of ``neurons`` that has not answered yet may still come.
    """

    neurons: tuple[str, ...] = ()
    strategy: Strategy = "cost"
    defrag_after_cycles: int = 0


@final
class Placement(SupervisedActor):
    """Single-flight loads on the neuron that the policy names.

    ``board`` and ``notes`` are written here alone; the pins in ``notes``, at first the catalogue's,
    outlive a restart of the actor.
    ``find`` looks an actor up by its registered name: connections and the router are started later
    and may be restarted at any time.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        board: StateBoard[tuple[NeuronState, ...]],
        publisher: ActorRef,
        find: Find,
        clock: Clock | None = None,
        settings: PlacementSettings | None = None,
        metrics: PlacementMetrics | None = None,
        notes: StateBoard[PlacementNotes] | None = None,
    ) -> None:
        super().__init__()
        settings = settings or PlacementSettings()
        self._notes = notes or StateBoard(PlacementNotes(catalogue.pinned()))
        self._catalogue = catalogue
        self._machine = PlacementMachine(catalogue, settings.strategy, settings.defrag_after_cycles)
        self._machine.pins |= self._notes.read().pins
        self._board = board
        self._publisher = publisher
        self._find = find
        self._clock = clock or MonotonicClock()
        self._metrics = metrics or PlacementMetrics(CollectorRegistry())
        self._answers: dict[Waiter, Answer] = {}
        self._operators = count(1)
        self._expected = settings.neurons

    def on_start(self) -> None:
        """Begin with neurons of which nothing is known: what was known before holds no more."""
        self._machine.fleet.expect(self._expected, self._clock.now())
        self.tell_every(TICK_S, Tick())
        self._announce()

    def summary(self) -> str:
        """Loads under way."""
        jobs = self._machine.jobs().items()
        shown = " ".join(
            f"{model}@{neuron or '?'}:{phase.value}" for model, (phase, neuron) in jobs
        )
        return f"neurons={len(self._board.read())} jobs={shown or 'none'}"

    # -- neurons --------------------------------------------------------------------------------

    @handles(NeuronChanged)
    def _neuron_changed(self, message: NeuronChanged) -> None:
        connection = self._find(connection_name(message.state.name))
        if connection is not None:
            now = self._clock.now()
            effects = self._machine.reported(message.state, connection.inc, now)
            # Figures that merely move are passed on every second, with the tick.
            if effects or self._machine.news:
                self._carry_out(effects)

    @handles(NeuronLost)
    def _neuron_lost(self, message: NeuronLost) -> None:
        now = self._clock.now()
        self._carry_out(self._machine.lost(message.name, message.connection, now))

    @handles(LoadEnded)
    def _load_ended(self, message: LoadEnded) -> None:
        failure, now = _failure_of(message), self._clock.now()
        self._carry_out(self._machine.load_ended(message.model, message.connection, failure, now))

    @handles(UnloadEnded)
    def _unload_ended(self, message: UnloadEnded) -> None:
        failure, now = _failure_of(message), self._clock.now()
        self._carry_out(self._machine.unload_ended(message.model, message.connection, failure, now))

    # -- the router -----------------------------------------------------------------------------

    @handles(EnsureLoaded)
    def _ensure_loaded(self, message: EnsureLoaded) -> None:
        router = message.reply_to

        def answer(ended: Loaded | Unloaded) -> None:
            router.notify(LoadFinished(message.model, ended.failure))

        # The router asks again every second: one answer per model is what it counts on.
        waiter = (message.model, router.inc)
        self._answers[waiter] = answer
        self._carry_out(self._machine.want(message.model, waiter, self._clock.now()))

    @handles(LoadUnwanted)
    def _load_unwanted(self, message: LoadUnwanted) -> None:
        waiter = (message.model, message.reply_to.inc)
        self._answers.pop(waiter, None)
        self._carry_out(self._machine.unwanted(message.model, waiter, self._clock.now()))

    @handles(ReplicaInUse)
    def _replica_in_use(self, message: ReplicaInUse) -> None:
        now = self._clock.now()
        self._machine.fleet.in_use(message.model, message.neuron, message.leases, now)
        if message.leases:
            return
        effects = self._machine.idle(now)
        # PERF: a lone client's every request ends so; only a job that waits can have moved.
        if effects or self._machine.jobs():
            self._carry_out(effects)

    @handles(Requested)
    def _requested(self, message: Requested) -> None:
        self._machine.demanded(message.requests, self._clock.now())

    # -- operators ------------------------------------------------------------------------------

    @handles(OperatorLoad)
    def _operator_load(self, message: OperatorLoad) -> None:
        request, model = message.request, self._catalogue.resolve(message.model)

        def answer(ended: Loaded | Unloaded) -> None:
            if isinstance(ended, Loaded) and ended.failure is None:
                request.complete(ModelLoaded(model, ended.load_s))
            elif ended.failure is not None:
                request.fail(ended.failure)

        waiter = self._operator(answer)
        self._carry_out(self._machine.want(model, waiter, self._clock.now(), insist=True))

    @handles(OperatorUnload)
    def _operator_unload(self, message: OperatorUnload) -> None:
        request, model = message.request, self._catalogue.resolve(message.model)

        def answer(ended: Loaded | Unloaded) -> None:
            if ended.failure is None:
                request.complete(ModelUnloaded(model))
            else:
                request.fail(ended.failure)

        self._carry_out(self._machine.unload(model, self._operator(answer)))

    @handles(Pin)
    def _pin(self, message: Pin) -> None:
        entry = self._catalogue.find(message.model)
        if entry is None:
            message.request.fail(unknown(message.model))
            return
        pins = self._machine.pins
        (pins.add if message.pinned else pins.discard)(entry.id)
        message.request.complete(ModelPinned(entry.id, message.pinned))
        self._carry_out(self._machine.idle(self._clock.now()))

    @handles(Plan)
    def _plan(self, message: Plan) -> None:
        entry = self._catalogue.find(message.model)
        if entry is None:
            message.request.fail(unknown(message.model))
        else:
            message.request.complete(plan(entry, self._machine, self._clock.now()))

    @handles(CatalogueChanged)
    def _catalogue_changed(self, message: CatalogueChanged) -> None:
        before, after = self._catalogue.pinned(), message.catalogue.pinned()
        self._catalogue = message.catalogue
        # What operators have said of a pin holds until the file says something else.
        self._machine.pins |= after - before
        self._machine.pins -= before - after
        self._machine.pins &= set(message.catalogue.ids())
        self._carry_out(self._machine.reload(message.catalogue, self._clock.now()))

    @handles(Tick)
    def _tick(self, _: Tick) -> None:
        self._carry_out(self._machine.tick(self._clock.now()))

    # -- inside ---------------------------------------------------------------------------------

    def _operator(self, answer: Answer) -> Waiter:
        waiter = next(self._operators)
        self._answers[waiter] = answer
        return waiter

    def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            self._perform(effect)
        self._announce()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case StartLoad(neuron, connection, spec):
                _log.info("load model=%s neuron=%s", spec.id, neuron)
                self._tell(neuron, connection, LoadOn(spec))
            case CancelLoad(neuron, connection, model):
                _log.info("cancel load model=%s neuron=%s", model, neuron)
                self._tell(neuron, connection, CancelLoadOn(model))
            case StartUnload(neuron, connection, model, why):
                _log.info("unload model=%s neuron=%s why=%s", model, neuron, why.value)
                self._metrics.unloads(model, neuron, why.value)
                self._tell(neuron, connection, UnloadOn(model, why.keep_warm))
            case RenewWorkers(neuron, connection):
                _log.info("renew neuron=%s", neuron)
                self._tell(neuron, connection, RenewOn())
            case Loaded(waiter) | Unloaded(waiter):
                if isinstance(effect, Loaded) and effect.load_s:
                    outcome = effect.failure.code if effect.failure else "ready"
                    self._metrics.loaded(effect.model, outcome, effect.load_s)
                answer = self._answers.pop(waiter, None)
                if answer is not None:
                    answer(effect)

    def _tell(self, neuron: str, connection: int, message: object) -> None:
        ref = self._find(connection_name(neuron))
        if ref is not None and ref.inc == connection:
            ref.notify(message)
        else:
            self.ref.notify(NeuronLost(neuron, connection))

    def _announce(self) -> None:
        self._machine.news = False
        self._board.write(self._machine.fleet.states())
        self._notes.write(
            PlacementNotes(
                pins=frozenset(self._machine.pins),
                given_up=self._machine.failures.given_up(),
                heard=self._machine.fleet.heard,
            )
        )
        counts = Counter(phase for phase, _ in self._machine.jobs().values())
        self._metrics.jobs({phase.value: counts[phase] for phase in Phase})
        self._publisher.notify(Tick())
        router = self._find("router")
        if router is not None:
            router.notify(FleetChanged())


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
        case Lost("deadline", _):
            text = f"neuron '{ended.neuron}' did not finish {doing} '{ended.model}' in time"
            return Failure(FailureCode.DEADLINE_EXCEEDED, text)
        case other:
            text = f"neuron '{ended.neuron}' was lost while {doing} '{ended.model}'{_why(other)}"
            return Failure(FailureCode.LINK_LOST, text, retry_after_s=RETRY_AFTER_S)


def _why(event: CallEvent) -> str:
    return f": {event.detail or event.reason}" if isinstance(event, Lost) else ""
