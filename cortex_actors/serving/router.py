"""The Router actor: answers "where does this request go?" with a lease, or says why not.

It never waits: a request for a model that must be loaded first is parked here, bounded in number
and by its own deadline, and is answered when the loader is done or the fleet changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.full_replicas import FullReplicas
from cortex_actors.serving.lease_table import Grant, LeaseTable, holder_of
from cortex_actors.serving.load_eta import RETRY_AFTER_S, still_loading
from cortex_actors.serving.messages import (
    DrainStarted,
    EnsureLoaded,
    ExplainAsked,
    FleetChanged,
    HolderGone,
    LeaseAsked,
    LeasesReturned,
    LoadFinished,
    LoadUnwanted,
    NamesChanged,
    ReplicaInUse,
    Requested,
    Tick,
    WaiterGone,
)
from cortex_actors.serving.parked_requests import ParkedRequests
from cortex_actors.serving.replica_choice import ONLY, Chosen, ReplicaChoice
from cortex_actors.serving.request_metrics import RequestMetrics
from cortex_actors.serving.request_trail import LEASED, WAITS, RequestTrail
from neuron_runtime.engine.longest_line_drop import GIVES_WAY
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.link import LinkState
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled, ModelState, NeuronState
from transports.schemas.link import Failure

MAX_PARKED = 512
LOOK_INTERVAL_S = 1.0
AVOID_S = 2.0
RETURN_S = 10.0
"""Whoever was told to come back for a model may take so much longer before its load is given up."""
LATE_S = LOOK_INTERVAL_S + 0.5
"""So long before its deadline a waiter is told, lest the answer cross the asker's giving up."""

KEEP_S = 1.0
"""What has changed in the fleet or the catalogue since is told to nobody who keeps a lease."""

Unfit = Callable[[str, str], Failure | None]


@final
class Router(SupervisedActor):
    """Grants leases on ready engines and parks requests whose model is on its way.

    ``catalogue`` maps every name a client may use (ids and aliases) to the models that it leads to,
    the preferred one first: one that is ready is taken, else the first that can be loaded.
    ``loader`` is told ``EnsureLoaded`` and answers with ``LoadFinished``; ``fleet`` reads the
    latest snapshot; ``server_keys`` are the CURVE public keys (Z85) of the neurons that have one;
    ``unfit`` says why a model cannot do a task, if that is known without loading it.
    """

    def __init__(
        self,
        catalogue: Mapping[str, tuple[str, ...]],
        loader: ActorRef,
        metrics: RequestMetrics,
        fleet: Callable[[], tuple[NeuronState, ...]],
        server_keys: Mapping[str, str],
        clock: Clock | None = None,
        unfit: Unfit = lambda _model, _task: None,
    ) -> None:
        super().__init__()
        self._unfit = unfit
        self._catalogue = dict(catalogue)
        self._loader = loader
        self._metrics = metrics
        self._clock = clock or MonotonicClock()
        self._leases = LeaseTable()
        self._replicas = ReplicaChoice(self._leases.tokens)
        self._full = FullReplicas()
        self._fleet = fleet
        self._server_keys = dict(server_keys)
        self._trail = RequestTrail()
        self._parked = ParkedRequests()
        self._told: dict[str, ModelState] = {}
        self._invited: dict[str, float] = {}
        self._requested: Counter[str] = Counter()
        self._draining = False

    def on_start(self) -> None:
        """Begin to look for parked requests that have waited too long."""
        self.tell_every(LOOK_INTERVAL_S, Tick())

    def on_stop(self, reason: ExitReason) -> None:
        """Leave nobody waiting for an answer that cannot come."""
        del reason
        self._fail_parked(
            Failure(FailureCode.MODEL_UNAVAILABLE, "the router restarts", retry_after_s=1.0)
        )

    def summary(self) -> str:
        """Leases in force and requests parked."""
        return f"leases={len(self._leases)} parked={len(self._parked)}"

    @handles(FleetChanged)
    def _fleet_changed(self, _: FleetChanged) -> None:
        for model in self._parked.models:
            self._serve_parked(model)

    @handles(LeaseAsked)
    def _lease_asked(self, message: LeaseAsked) -> None:
        request, name = message.request, message.wanted.model
        chain = self._catalogue.get(name, ())
        if self._draining:
            request.fail(_shutting_down())
        elif not chain:
            request.fail(unknown_model(name, self._catalogue))
        elif request.link.state is LinkState.DOWN:
            # Its HolderGone has overtaken it: a lease granted now would never be released.
            request.fail(Failure(FailureCode.LINK_LOST, "the asker is gone"))
        elif _is_over(message, self._clock.now()):
            request.fail(Failure(FailureCode.DEADLINE_EXCEEDED, "the asker has given up"))
        else:
            self._requested[chain[0]] += 1
            self._find_place(chain, message)

    def _find_place(self, chain: tuple[str, ...], message: LeaseAsked) -> None:
        message = replace(message, since=self._clock.now())
        if any(self._grant(model, message) for model in chain):
            return
        refusals = {model: self._unfit(model, message.wanted.task) for model in chain}
        able = [model for model, refusal in refusals.items() if refusal is None]
        refusal = None if able else refusals[chain[0]]
        if refusal is not None:
            message.request.fail(refusal)
        elif message.wanted.wait:
            self._park(able[0], message)
        else:
            text = f"no other replica of '{message.wanted.model}' can take the request now"
            message.request.fail(Failure(FailureCode.MODEL_UNAVAILABLE, text))

    @handles(NamesChanged)
    def _names_changed(self, message: NamesChanged) -> None:
        self._catalogue = dict(message.names)

    @handles(LeasesReturned)
    def _leases_returned(self, message: LeasesReturned) -> None:
        for settled in message.settled:
            if settled.kept:
                grant = self._leases.used(message.holder, settled.lease)
            else:
                grant = self._leases.settle(message.holder, settled.lease)
            if grant is not None:
                self._settled(grant, settled)

    def _settled(self, grant: Grant, settled: LeaseSettled) -> None:
        request_id = settled.request_id or grant.request_id
        if settled.request_id:
            self._used_again(grant, settled)
        self._metrics.settled(grant, settled)
        self._note(request_id, grant.model, settled.outcome, grant.neuron)
        self._trail.settled(request_id, settled)
        if not settled.kept:
            self._tell_use(grant, 0)
        if settled.outcome == FailureCode.OVERLOADED:
            endpoint = self._replicas.endpoint(grant.model, grant.neuron)
            self._full.refused(endpoint, settled.retry_after_s, self._clock.now())

    def _used_again(self, grant: Grant, settled: LeaseSettled) -> None:
        """A request that we were not asked about has used a kept lease: it counts all the same."""
        self._requested[grant.model] += 1
        self._replicas.served(grant.model, settled.prefix, grant.neuron)
        began = self._clock.now() - settled.duration_s
        self._trail.note(
            settled.request_id, grant.model, LEASED, began, grant.neuron, "a kept lease"
        )

    @handles(HolderGone)
    def _holder_gone(self, message: HolderGone) -> None:
        for grant in self._leases.release_all(message.holder):
            self._metrics.abandoned(grant)
            if grant.request_id:
                self._note(grant.request_id, grant.model, "front_end_died", grant.neuron)
            self._tell_use(grant, 0)

    @handles(WaiterGone)
    def _waiter_gone(self, message: WaiterGone) -> None:
        failure = Failure(FailureCode.CANCELLED, "no longer wanted")
        for model, asked in self._parked:
            if asked == message.asked:
                self._refuse_parked(model, asked, failure)

    @handles(LoadFinished)
    def _load_finished(self, message: LoadFinished) -> None:
        self._invited.pop(message.model, None)
        if message.failure is None:
            self._serve_parked(message.model)
            return
        for asked in self._parked.take(message.model):
            fallback = self._after(message.model, asked)
            if not fallback:
                asked.request.fail(message.failure)
            else:
                self._find_place(fallback, asked)

    def _after(self, model: str, asked: LeaseAsked) -> tuple[str, ...]:
        """What is left of the request's chain once ``model`` could not be loaded."""
        chain = self._catalogue.get(asked.wanted.model, ())
        return chain[chain.index(model) + 1 :] if model in chain else ()

    @handles(Tick)
    def _tick(self, _: Tick) -> None:
        now = self._clock.now()
        if self._requested:
            self._loader.notify(Requested(dict(self._requested)))
            self._requested.clear()
        for model, asked in self._parked:
            if _is_late(asked, now):
                refusal = still_loading(model, self._progress(model))
                self._invited[model] = now + (refusal.retry_after_s or 0.0) + RETURN_S
                self._refuse_parked(model, asked, refusal)
        for model in self._parked.models:
            # The loader may have been restarted since and have forgotten us.
            self._loader.notify(EnsureLoaded(model, self.ref))
        for model in [each for each, until in self._invited.items() if until <= now]:
            del self._invited[model]
            if model not in self._parked:
                self._loader.notify(LoadUnwanted(model, self.ref))
        self._metrics.load.see(self._parked.counts(), self._leases.by_replica())

    @handles(DrainStarted)
    def _drain_started(self, _: DrainStarted) -> None:
        self._draining = True
        self._fail_parked(_shutting_down())

    @handles(ExplainAsked)
    def _explain_asked(self, message: ExplainAsked) -> None:
        found = self._trail.explain(message.request_id)
        if found is not None:
            message.request.complete(found)
        else:
            text = f"nothing is known of request '{message.request_id[:200]}' (any more)"
            message.request.fail(Failure(FailureCode.INVALID_REQUEST, text, param="request_id"))

    def _refuse_parked(self, model: str, asked: LeaseAsked, failure: Failure) -> None:
        self._parked.remove(model, asked)
        asked.request.fail(failure)
        # Who was told to come back would else find the load begun anew, and again.
        if model not in self._parked and model not in self._invited:
            self._loader.notify(LoadUnwanted(model, self.ref))

    def _note(
        self, request_id: str, model: str, event: str, neuron: str = "", detail: str = ""
    ) -> None:
        self._trail.note(request_id, model, event, self._clock.now(), neuron, detail)

    def _fail_parked(self, failure: Failure) -> None:
        for model in self._parked.models:
            for asked in self._parked.take(model):
                asked.request.fail(failure)

    def _grant(self, model: str, asked: LeaseAsked) -> bool:
        wanted = asked.wanted
        now = self._clock.now()
        if _is_over(asked, now):
            # The asker drops what comes now, so nobody would ever give this lease back.
            return False
        # What has failed it may be the only one there is, and well again.
        avoid = wanted.avoid if now - asked.since < AVOID_S else ()
        full = self._full.endpoints(now)
        self._replicas.see(self._fleet())
        chosen = self._choose(model, wanted, avoid, full)
        if chosen is None:
            return False
        replica, holder = chosen.replica, holder_of(asked.request.link)
        grant = self._leases.grant(holder, wanted.request_id, model, replica.neuron, wanted.tokens)
        key = self._server_keys.get(replica.neuron, "")
        # PERF: first, for whoever asked waits; what follows wakes threads that would be in the way.
        asked.request.complete(
            Lease(
                grant.lease,
                model,
                replica.neuron,
                replica.endpoint,
                key,
                0.0 if full else self._keep_s(chosen, asked),
            )
        )
        self._note(wanted.request_id, model, LEASED, replica.neuron, chosen.why)
        self._tell_use(grant, 1)
        return True

    def _keep_s(self, chosen: Chosen, asked: LeaseAsked) -> float:
        """Where there is nothing to choose, a busy front end need not ask each time."""
        first = self._catalogue[asked.wanted.model][0]
        return KEEP_S if chosen.why == ONLY and chosen.replica.id == first else 0.0

    def _choose(
        self, model: str, wanted: LeaseRequest, avoid: tuple[str, ...], full: tuple[str, ...]
    ) -> Chosen | None:
        if not full:
            return self._replicas.choose(model, wanted.tokens, wanted.prefix, avoid)
        chosen = self._replicas.choose(model, wanted.tokens, wanted.prefix, (*avoid, *full))
        if chosen is not None or not wanted.wait:
            return chosen
        # All are full, as far as is known: an engine says better than we do for how long.
        return self._replicas.choose(model, wanted.tokens, wanted.prefix, avoid)

    def _tell_use(self, grant: Grant, boundary: int) -> None:
        """A replica's leases have changed; the loader hears of the first and the last."""
        self._replicas.changed(grant.model, grant.neuron)
        if self._leases.outstanding(grant.model, grant.neuron) == boundary:
            self._loader.notify(ReplicaInUse(grant.model, grant.neuron, boundary))

    def _park(self, model: str, asked: LeaseAsked) -> None:
        full = len(self._parked) >= MAX_PARKED
        gone = self._parked.giving_way(asked.wanted.principal) if full else None
        if full and gone is None:
            asked.request.fail(_too_many_wait("try again later"))
            return
        self._parked.add(model, asked)
        if gone is not None:
            self._refuse_parked(*gone, _too_many_wait(GIVES_WAY))
        self._note(asked.wanted.request_id, model, WAITS, detail="no replica is ready")
        me = self.ref
        asked.request.on_cancel(lambda _reason: me.notify(WaiterGone(asked)))
        progress = self._progress(model)
        if progress is not None:
            asked.request.progress(progress)
        self._loader.notify(EnsureLoaded(model, me))

    def _serve_parked(self, model: str) -> None:
        for asked in self._parked.take(model):
            if not self._grant(model, asked):
                self._parked.add(model, asked)
        self._tell_progress(model)

    def _tell_progress(self, model: str) -> None:
        """Whoever waits is told what has changed; all else that happens in the fleet is not."""
        progress = self._progress(model)
        waiting = self._parked.of(model)
        if waiting and progress is not None and progress != self._told.get(model):
            self._told[model] = progress
            for asked in waiting:
                asked.request.progress(progress)

    def _progress(self, model: str) -> ModelState | None:
        states = [state for neuron in self._fleet() for state in neuron.models if state.id == model]
        # One that has failed on another neuron says nothing of the load that is waited for.
        return min(states, key=lambda state: state.state == "failed", default=None)


def unknown_model(name: str, catalogue: Iterable[str]) -> Failure:
    """The failure for a name that the catalogue does not have; names those that it has."""
    known = ", ".join(sorted(catalogue)) or "none"
    return Failure(
        FailureCode.MODEL_NOT_FOUND, f"model '{name}' does not exist; known: {known}", param="model"
    )


def _is_late(asked: LeaseAsked, now: float) -> bool:
    return _is_over(asked, now + LATE_S)


def _is_over(asked: LeaseAsked, now: float) -> bool:
    return asked.request.deadline is not None and asked.request.deadline <= now


def _too_many_wait(advice: str) -> Failure:
    return Failure(
        FailureCode.OVERLOADED,
        f"{MAX_PARKED} requests already wait for models to load; {advice}",
        retry_after_s=RETRY_AFTER_S,
    )


def _shutting_down() -> Failure:
    return Failure(FailureCode.SHUTTING_DOWN, "the service is shutting down")
