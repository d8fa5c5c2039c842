"""The Models actor: which models this neuron has, and the only one that starts or ends one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

import msgspec

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.asking import Future
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.monitor import Down
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.device_table import DeviceTable, Placed
from cortex_actors.neuron.messages import (
    DeviceLost,
    DevicesMeasured,
    LoadAsked,
    LoadCancelled,
    ModelChanged,
    ModelsChanged,
    Renew,
    RenewAsked,
    Unload,
    UnloadAsked,
    Wake,
)
from cortex_actors.neuron.model_lifecycle import ModelPhase
from cortex_actors.neuron.resident import Resident
from cortex_actors.neuron.warm_pool import Sleeper, WarmPool, short_of_memory
from cortex_actors.serving.messages import (
    DrainStarted,
    EnsureLoaded,
    LoadFinished,
    LoadUnwanted,
    ReplicaInUse,
    Requested,
)
from transports.clock import Clock, MonotonicClock
from transports.failures import FailureCode
from transports.link import LinkState
from transports.schemas.fleet import ModelLoaded, ModelSpec, ModelState, ModelUnloaded
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.models")

RETRY_FAILED_AFTER_S = 15.0
RETRY_UNLOADING_AFTER_S = 2.0
_CLOSING = Failure(FailureCode.SHUTTING_DOWN, "the neuron is shutting down")
_LEAVING = frozenset({ModelPhase.UNLOADING, ModelPhase.UNLOADED})
_RESTING = _LEAVING | {ModelPhase.ASLEEP}


StartModel = Callable[[ModelSpec, Placed, ActorRef], Future[ActorRef]]
OnStates = Callable[[ModelsChanged], None]


@final
class Models(SupervisedActor):
    """Single-flight loads, device reservation, and the table that the neuron's state shows.

    ``start_model`` starts a Model actor under the models' supervisor; ``on_states`` is told all
    states after every change. A model that is not unloaded for good may sleep in the warm tier of
    ``warm_mb``, where it holds no device, and is woken by its next load.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        devices: DeviceTable,
        start_model: StartModel,
        on_states: OnStates,
        clock: Clock | None = None,
        warm_mb: int = 0,
    ) -> None:
        super().__init__()
        self._pool = WarmPool(warm_mb)
        self._short: frozenset[str] = frozenset()
        self._catalogue = catalogue
        self._devices = devices
        self._start_model = start_model
        self._on_states = on_states
        self._clock = clock or MonotonicClock()
        self._residents: dict[str, Resident] = {}
        self._waiting: dict[str, dict[int, ActorRef]] = {}
        self._draining = False

    def on_start(self) -> None:
        """Tell that there is no model: what an earlier incarnation told holds no more."""
        self._publish()

    def summary(self) -> str:
        """Each model's phase."""
        return " ".join(f"{id_}={r.state.state}" for id_, r in self._residents.items()) or "empty"

    @handles(EnsureLoaded)
    def _ensure_loaded(self, message: EnsureLoaded) -> None:
        entry = self._catalogue.find(message.model)
        if entry is None:
            text = f"model '{message.model}' is not in the catalogue"
            failure = Failure(FailureCode.MODEL_NOT_FOUND, text)
            message.reply_to.notify(LoadFinished(message.model, failure))
            return
        refusal = self._load(entry.spec())
        if refusal is not None or self._residents[entry.id].state.state == ModelPhase.READY:
            message.reply_to.notify(LoadFinished(message.model, refusal))
        else:
            asker = message.reply_to
            self._waiting.setdefault(entry.id, {})[asker.inc] = asker

    @handles(LoadAsked)
    def _load_asked(self, message: LoadAsked) -> None:
        failure = self._load(message.spec, again=True)
        if failure is not None:
            message.request.fail(failure)
            return
        resident = self._residents[message.spec.id]
        if resident.state.state == ModelPhase.READY:
            message.request.complete(ModelLoaded(message.spec.id, 0.0))
        else:
            resident.asked.append(message.request)
            me, cancelled = self.ref, LoadCancelled(message.spec.id, message.request)
            message.request.on_cancel(lambda _reason: me.notify(cancelled))

    @handles(LoadCancelled)
    def _load_cancelled(self, message: LoadCancelled) -> None:
        resident = self._residents.get(message.model)
        if resident is None or message.request not in resident.asked:
            return
        resident.asked.remove(message.request)
        # A link that is lost is no change of mind: its gateway comes back and looks what there is.
        if message.request.link.state is LinkState.DOWN:
            return
        coming = resident.state.state in (ModelPhase.PREPARING, ModelPhase.STARTING)
        if not coming or resident.asked or self._waiting.get(message.model):
            message.request.fail(_cancelled(message.model))
            return
        _log.info("load cancelled model=%s", message.model)
        resident.unwanted = True
        resident.cancelled.append(message.request)
        if resident.ref is not None:
            resident.ref.notify(Unload())

    @handles(UnloadAsked)
    def _unload_asked(self, message: UnloadAsked) -> None:
        resident = self._residents.get(message.model)
        if resident is None:
            message.request.fail(
                Failure(
                    FailureCode.MODEL_NOT_FOUND,
                    f"model '{message.model}' is not loaded here",
                    param="model",
                )
            )
            return
        if message.keep_warm and resident.state.state == ModelPhase.ASLEEP:
            message.request.complete(ModelUnloaded(message.model))
            return
        resident.unload_asked.append(message.request)
        if message.keep_warm and resident.state.state == ModelPhase.UNLOADING:
            return  # how, the first who asked has decided
        if resident.ref is not None:
            resident.ref.notify(Unload(message.keep_warm and self._admit(resident)))
        elif resident.state.state == ModelPhase.FAILED:
            self._gone(message.model, "unloaded")

    @handles(RenewAsked)
    def _renew_asked(self, _: RenewAsked) -> None:
        """Sleepers end; models that serve look themselves whether they are idle."""
        for model, resident in self._residents.items():
            if resident.state.state == ModelPhase.ASLEEP:
                self._end_sleep(model)
            elif resident.ref is not None:
                resident.ref.notify(Renew())

    @handles(LoadUnwanted)
    def _load_unwanted(self, message: LoadUnwanted) -> None:
        """A load that was begun here is finished: nothing else wants the devices."""

    @handles(ReplicaInUse)
    def _replica_in_use(self, message: ReplicaInUse) -> None:
        """Nothing is evicted here but by the gateway, which hears this from its own router."""

    @handles(Requested)
    def _requested(self, message: Requested) -> None:
        """As above: demand decides about evictions."""

    @handles(DrainStarted)
    def _drain_started(self, message: DrainStarted) -> None:
        self._draining = True
        for model, resident in self._residents.items():
            if resident.state.state != ModelPhase.FAILED:
                # Whoever waits had better try elsewhere than see it end as soon as it is there.
                self._finish_load(model, _CLOSING)
            if resident.ref is not None:
                resident.ref.notify(message)

    @handles(DevicesMeasured)
    def _devices_measured(self, message: DevicesMeasured) -> None:
        present = {device.id for device in message.devices}
        self._devices.observe({each.id: each.memory_free_mb for each in message.devices})
        for model in self._pool.stranded(present):
            self._end_sleep(model)
        # Twice in a row: the first may have been measured before the last one fell asleep.
        before, self._short = self._short, short_of_memory(message.devices, self._shown())
        blocking = self._pool.in_the_way(before & self._short)
        if blocking is not None:
            _log.warning("device memory has not come back, ended model=%s", blocking)
            self._end_sleep(blocking)
        for model, (rank, device) in self._devices.lost_ranks().items():
            ref = self._residents[model].ref
            if ref is not None:
                ref.notify(DeviceLost(rank, device))

    @handles(ModelChanged)
    def _model_changed(self, message: ModelChanged) -> None:
        resident = self._residents.get(message.state.id)
        if resident is None:
            return
        phase = message.state.state
        if resident.state.state == ModelPhase.ASLEEP and phase in _LEAVING:
            # It holds nothing: that it goes matters to nobody but those who wait for its end.
            resident.warm = False
            self._publish()
            return
        # What it said before it heard that it is wanted again.
        if resident.then is not None and not resident.unload_asked and phase in _RESTING:
            return
        resident.state, resident.warm = message.state, message.warm
        resident.weights_mb = message.weights_mb
        resident.failure = message.failure or resident.failure
        if phase == ModelPhase.ASLEEP:
            self._devices.release(message.state.id)
            self._answer_unloaded(resident)
        self._publish()
        if phase == ModelPhase.READY:
            resident.then = None
            self._finish_load(message.state.id, None)
        elif message.state.state == ModelPhase.FAILED:
            resident.since = self._clock.now()
            resident.then = None
            self._devices.release(message.state.id)
            self._finish_load(message.state.id, resident.failure)

    @handles(Down)
    def _model_down(self, message: Down) -> None:
        resident = next(
            (r for r in self._residents.values() if r.ref and r.ref.inc == message.inc), None
        )
        if resident is None:
            return
        resident.ref = None
        if resident.state.state != ModelPhase.FAILED or resident.unload_asked:
            self._gone(resident.spec.id, str(message.tag.cause))

    def _gone(self, model: str, why: str) -> None:
        resident = self._residents.pop(model)
        self._devices.release(model)
        self._pool.leave(model)
        ended = Failure(FailureCode.LOAD_FAILED, f"model '{model}' ended: {why}")
        if resident.then is not None and not resident.unload_asked and not resident.unwanted:
            refusal = self._load(resident.then)
            if refusal is None:
                self._residents[model].asked = resident.asked
                return
            ended = refusal
        if resident.unload_asked:
            # No load has failed: who waits for one, or lost the engine meanwhile, comes too late.
            ended = Failure(FailureCode.MODEL_UNAVAILABLE, f"model '{model}' was unloaded")
        for request in resident.asked:
            request.fail(ended)
        self._answer_unloaded(resident)
        self._tell_cancelled(resident)
        self._tell_waiting(model, ended)
        self._publish()

    def _load(self, spec: ModelSpec, *, again: bool = False) -> Failure | None:
        """Start a load unless one is under way; a failure is the reason why not."""
        if self._draining:
            return _CLOSING
        resident = self._residents.get(spec.id)
        if resident is not None:
            refusal = self._refusal(resident, again)
            if refusal is None and resident.state.state == ModelPhase.ASLEEP:
                self._wake(resident, spec)
            if refusal is not None or resident.state.state != ModelPhase.FAILED:
                return refusal
        placed = self._devices.place(spec.id, spec.min_devices, spec.vram_mb)
        if isinstance(placed, Failure):
            return placed
        state = ModelState(id=spec.id, state=ModelPhase.PREPARING, devices=placed.devices)
        resident = self._residents[spec.id] = Resident(spec, self._clock.now(), state)
        _log.info("load model=%s devices=%s", spec.id, "+".join(placed.devices))
        started = self._start_model(spec, placed, self.ref)
        self.when_done(started, lambda done: self._started(resident, done))
        self._publish()
        return None

    def _wake(self, resident: Resident, spec: ModelSpec) -> None:
        """Have a sleeper serve again, or end it and load anew what it cannot become."""
        resident.since, resident.then = self._clock.now(), spec
        fits = resident.spec == spec and self._devices.place_on(
            spec.id, resident.state.devices, spec.vram_mb
        )
        _log.info("%s model=%s", "wake" if fits else "end sleep, load", spec.id)
        phase = ModelPhase.STARTING if fits else ModelPhase.PREPARING
        resident.state = msgspec.structs.replace(resident.state, state=phase, endpoint="")
        resident.warm = fits
        self._pool.leave(spec.id)
        if resident.ref is not None:
            resident.ref.notify(Wake() if fits else Unload())
        self._publish()

    def _admit(self, resident: Resident) -> bool:
        """Make room in the warm tier for a model that serves; the longest asleep go."""
        if resident.state.state != ModelPhase.READY:
            return False
        sleeper = Sleeper(resident.spec.id, resident.state.devices, resident.weights_mb)
        victims = self._pool.admit(sleeper)
        for model in victims or ():
            self._end_sleep(model)
        return victims is not None

    def _end_sleep(self, model: str) -> None:
        self._pool.leave(model)
        resident = self._residents.get(model)
        if resident is not None and resident.ref is not None:
            _log.info("end sleep model=%s", model)
            resident.ref.notify(Unload())

    def _started(self, resident: Resident, started: Future[ActorRef]) -> None:
        if started.error is not None:
            self._gone(resident.spec.id, str(started.error))
            return
        resident.ref = started.result()
        self.monitor(resident.ref)
        if resident.unload_asked or resident.unwanted:
            resident.ref.notify(Unload())

    def _refusal(self, resident: Resident, again: bool) -> Failure | None:
        """Why it is not loaded; ``again`` if whoever asks knows what has failed and when."""
        failed = resident.state.state == ModelPhase.FAILED
        if resident.state.state == ModelPhase.UNLOADING or (resident.unwanted and not failed):
            return Failure(
                FailureCode.MODEL_UNAVAILABLE,
                f"model '{resident.spec.id}' is being unloaded",
                retry_after_s=RETRY_UNLOADING_AFTER_S,
            )
        failure = resident.failure
        lately = self._clock.now() - resident.since < RETRY_FAILED_AFTER_S
        # Files can be mended meanwhile, a device that is gone is not back because somebody asks.
        mended = again and failure is not None and failure.code != FailureCode.DEVICE_LOST
        waits = lately and not mended
        return failure if failed and (waits or resident.ref is not None) else None

    def _finish_load(self, model: str, failure: Failure | None) -> None:
        resident = self._residents.get(model)
        if resident is not None:
            asked, resident.asked = resident.asked, []
            load_s = self._clock.now() - resident.since
            for request in asked:
                if failure is None:
                    request.complete(ModelLoaded(model, load_s))
                else:
                    request.fail(failure)
            if failure is not None:
                self._tell_cancelled(resident)
        self._tell_waiting(model, failure)

    def _tell_cancelled(self, resident: Resident) -> None:
        cancelled, resident.cancelled = resident.cancelled, []
        for request in cancelled:
            request.fail(_cancelled(resident.spec.id))

    def _tell_waiting(self, model: str, failure: Failure | None) -> None:
        for asker in self._waiting.pop(model, {}).values():
            asker.notify(LoadFinished(model, failure))

    def _answer_unloaded(self, resident: Resident) -> None:
        asked, resident.unload_asked = resident.unload_asked, []
        for request in asked:
            request.complete(ModelUnloaded(resident.spec.id))

    def _shown(self) -> tuple[ModelState, ...]:
        """All but those that sleep, which hold nothing that others could want."""
        states = (resident.state for resident in self._residents.values())
        return tuple(state for state in states if state.state != ModelPhase.ASLEEP)

    def _publish(self) -> None:
        weights_mb = {model: each.weights_mb for model, each in self._residents.items()}
        warm = frozenset(model for model, each in self._residents.items() if each.warm)
        sources = {model: each.spec.source for model, each in self._residents.items()}
        self._on_states(ModelsChanged(self._shown(), weights_mb, warm, sources))


def _cancelled(model: str) -> Failure:
    return Failure(FailureCode.CANCELLED, f"the load of model '{model}' is no longer wanted")
