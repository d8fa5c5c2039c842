"""The Model actor: one model's life on this neuron, from its files to its last request.

It supervises nothing itself: its processes hang under a rest_for_one supervisor (engine, then
group), so a dead engine takes the group with it and a dead rank leaves the engine, which replays.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.monitor import Down
from cortex_actors.kit.reasons import NORMAL, ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.death_record import DeathRecord
from cortex_actors.neuron.drain import Drain
from cortex_actors.neuron.messages import (
    DeviceLost,
    DrainAsked,
    Drained,
    EngineEnded,
    EngineRefused,
    EngineUp,
    EpochAsleep,
    EpochBroken,
    EpochEnded,
    EpochReady,
    ModelChanged,
    PreparationEnded,
    PreparationProgressed,
    Renew,
    SleepOverdue,
    Unload,
    Wake,
)
from cortex_actors.neuron.model_lifecycle import ModelLifecycle, ModelPhase
from cortex_actors.neuron.model_processes import ModelProcesses
from cortex_actors.serving.messages import DrainStarted
from neuron_runtime.geometry import PlacementError
from neuron_runtime.model_errors import ModelFilesError
from transports.failures import FailureCode
from transports.schemas.daemon import EngineLoad, SleepGroup, WakeGroup
from transports.schemas.fleet import ModelSpec, ModelState
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.model")

DRAIN_SLACK_S = 1.0
SLEEP_S = 60.0
WAKE_S = 60.0
SLEEP_SLACK_S = 5.0
# A sleeper that holds on to more of its device than this share is in the way of others.
_MOST_LEFT = 0.05
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs: its spec, its devices in rank order, and the neuron's name.

    ``restarts`` is how many loads in a row may fail before it is given up.
    """

    spec: ModelSpec
    devices: tuple[str, ...]
    neuron: str
    drain_s: float
    restarts: int


@final
class Model(SupervisedActor):
    """Prepares, starts, watches and unloads one model, and tells ``models`` of every change.

    It ends when the model is unloaded or has failed; by then every process of the model is gone.
    Asleep, it keeps them: the weights are in host memory, the devices are others'. A process that
    dies then ends it; one that dies while the model wakes has it started as from the beginning.
    """

    def __init__(self, placement: Placement, models: ActorRef, processes: ModelProcesses) -> None:
        super().__init__()
        self._placement = placement
        self._models = models
        self._processes = processes
        self._life = ModelLifecycle()
        self._tree: ActorRef | None = None
        self._engine_load = EngineLoad(running=0, waiting=0, capacity=0, context_length=0)
        self._deaths = DeathRecord(placement.restarts)
        self._failure: Failure | None = None
        self._drain = Drain()
        self._keep_warm = False
        self._warm = False
        self._epoch = 0
        self._weights_mb = 0
        self._stop_reason: ExitReason | None = None
        self._progress = 0.0
        self._memory_mb = placement.spec.vram_mb
        self._capabilities: tuple[str, ...] = ()
        self._model_dir = Path()
        self._renewing = False
        # Wall clock: clients are shown it as OpenAI's "created".
        self._created = int(time.time())

    def on_start(self) -> None:
        """Use the cached files, or have them made."""
        self._announce()
        try:
            model_dir = self._processes.cached()
        except ModelFilesError as error:
            self._fail(error.failure())
            return
        if model_dir is None:
            self.monitor(self._processes.start_preparation(self.ref))
        else:
            self._start_processes(model_dir)

    def on_stop(self, reason: ExitReason) -> None:
        """End every process of the model."""
        del reason
        self._processes.stop()

    def on_stop_request(self, reason: ExitReason) -> None:
        """Let the engine finish what runs, within the drain time, then end."""
        self._stop_reason = reason
        if self._life.phase is ModelPhase.ASLEEP or not self._drains():
            self.leave(reason)

    def summary(self) -> str:
        """Phase, devices and load."""
        load = self._engine_load
        return (
            f"{self._life.phase} on {'+'.join(self._placement.devices)}"
            f" running={load.running} waiting={load.waiting}"
        )

    @handles(PreparationProgressed)
    def _preparation_progressed(self, message: PreparationProgressed) -> None:
        self._progress = message.fraction
        self._announce()

    @handles(PreparationEnded)
    def _preparation_ended(self, message: PreparationEnded) -> None:
        if message.failure is not None:
            self._fail(message.failure)
        elif self._life.phase is ModelPhase.PREPARING:
            self._start_processes(Path(message.model_dir))

    @handles(EngineUp)
    def _engine_up(self, message: EngineUp) -> None:
        self._capabilities = message.capabilities
        self._life.engine_up(message.endpoint)
        self._announce()

    @handles(EngineRefused)
    def _engine_refused(self, message: EngineRefused) -> None:
        self._deaths.refused(message.failure)
        # Files that an engine has served before may only be out of reach for a while.
        if not self._deaths.served:
            self._fail(self._named(message.failure.code, message.failure.message))

    @handles(EngineEnded)
    def _engine_ended(self, message: EngineEnded) -> None:
        self._deaths.engine_ended(message)
        self._life.engine_gone()
        self._lost_sleep()
        self._announce()
        if message.hopeless and not self._deaths.served:
            cause = f"engine: {message.reason}"
            self._fail(self._named(FailureCode.LOAD_FAILED, cause))

    @handles(EpochReady)
    def _epoch_ready(self, message: EpochReady) -> None:
        self._deaths.ready(woken=self._warm)
        self._warm = False
        self._epoch = message.ready.epoch
        self._life.group_ready()
        held = message.ready.weight_bytes + message.ready.kv_bytes
        self._memory_mb = -(-held // _MIB) or self._memory_mb
        self._weights_mb = -(-message.ready.weight_bytes // _MIB) or self._memory_mb
        _log.info(
            "group ready model=%s epoch=%d load_s=%.2f",
            self._placement.spec.id,
            message.ready.epoch,
            message.ready.load_s,
        )
        self._announce()

    @handles(EpochBroken)
    def _epoch_broken(self, message: EpochBroken) -> None:
        self._deaths.broke(message)
        # What fails before it ever worked (bad shard, bad head count) would fail again.
        fresh = self._life.phase is ModelPhase.STARTING and not self._warm
        if fresh and message.code != FailureCode.WORKER_DIED:
            self._fail(self._named(message.code, message.message))

    @handles(EpochEnded)
    def _epoch_ended(self, _: EpochEnded) -> None:
        self._deaths.epoch_ended()
        self._life.group_gone()
        self._lost_sleep()
        self._announce()
        if self._deaths.hopeless:
            self._give_up("too many loads have failed")

    @handles(DeviceLost)
    def _device_lost(self, message: DeviceLost) -> None:
        cause = f"rank {message.rank} had {message.device}, which is gone"
        self._fail(self._named(FailureCode.DEVICE_LOST, cause))

    @handles(EngineLoad)
    def _engine_loaded(self, message: EngineLoad) -> None:
        self._engine_load = message
        self._announce()

    @handles(Down)
    def _down(self, message: Down) -> None:
        if self._tree is not None and message.inc == self._tree.inc:
            self._lost_sleep()
            self._give_up(str(message.tag.cause))
        elif self._life.phase is ModelPhase.PREPARING:
            # A preparation that has come to a result has said so before it ended.
            cause = f"preparation: {message.tag.cause}"
            self._fail(self._named(FailureCode.LOAD_FAILED, cause))

    @handles(Unload)
    def _unload(self, message: Unload) -> None:
        if self._life.phase is ModelPhase.UNLOADING:
            self._keep_warm = self._keep_warm and message.keep_warm
            return
        self._keep_warm = message.keep_warm and self._life.phase is ModelPhase.READY
        drains = self._life.phase is not ModelPhase.ASLEEP and self._drains()
        self._warm = False
        self._life.move(ModelPhase.UNLOADING)
        self._announce()
        if not drains:
            self._rest()

    @handles(Renew)
    def _renew(self, _: Renew) -> None:
        load = self._engine_load
        idle = self._life.phase is ModelPhase.READY and not load.running and not load.waiting
        # A drain that is under way is the neuron's last.
        if not idle or self._drain.under_way or not self._drains():
            return
        # From here on nothing is routed to it; what came at the last moment is drained.
        self._renewing = True
        self._life.group_gone()
        self._announce()

    @handles(DrainStarted)
    def _drain_started(self, _: DrainStarted) -> None:
        self._renewing = False
        self._drains()

    @handles(Drained)
    def _drained(self, message: Drained) -> None:
        if not self._drain.end(message.number):
            return
        if self._life.phase is ModelPhase.UNLOADING:
            self._rest()
        elif self._stop_reason is not None:
            self.leave(self._stop_reason)
        elif self._renewing:
            self._start_anew()

    def _drains(self) -> bool:
        """Have the engine drain; returns whether a Drained is still to come."""
        engine = self._processes.engine
        if engine is not None and self._life.endpoint and self._drain.begin():
            drain_s, number = self._placement.drain_s, self._drain.number
            engine.notify(DrainAsked(drain_s, number))
            self.tell_later(drain_s + DRAIN_SLACK_S, Drained(number))
        return self._drain.under_way

    @handles(EpochAsleep)
    def _epoch_asleep(self, message: EpochAsleep) -> None:
        if self._life.phase is not ModelPhase.UNLOADING:
            return
        left_mb = -(-message.asleep.device_bytes // _MIB)
        if not self._keep_warm or left_mb > _MOST_LEFT * self._memory_mb:
            _log.info("not kept warm model=%s left_mb=%d", self._placement.spec.id, left_mb)
            self._finish_unload()
            return
        self._warm, self._keep_warm = True, False
        self._life.asleep()
        self._announce()

    @handles(SleepOverdue)
    def _sleep_overdue(self, message: SleepOverdue) -> None:
        late = message.number == self._drain.number and self._life.phase is ModelPhase.UNLOADING
        if late:
            self._finish_unload()

    @handles(Wake)
    def _wake(self, _: Wake) -> None:
        engine = self._processes.engine
        if self._life.phase is not ModelPhase.ASLEEP or engine is None:
            return
        self._drain.forget()
        self._life.move(ModelPhase.STARTING)
        engine.notify(WakeGroup(self._epoch, WAKE_S))
        self._announce()

    def _rest(self) -> None:
        """Nothing runs any more: fall asleep if that is wanted, else go."""
        engine = self._processes.engine
        if not self._keep_warm or engine is None or self._stop_reason is not None:
            self._finish_unload()
            return
        engine.notify(SleepGroup(self._epoch, SLEEP_S))
        self.tell_later(SLEEP_S + SLEEP_SLACK_S, SleepOverdue(self._drain.number))

    def _lost_sleep(self) -> None:
        """A process has died: what slept, or was about to, is of no use; what woke starts anew."""
        asleep = self._life.phase is ModelPhase.ASLEEP
        resting = self._life.phase is ModelPhase.UNLOADING and self._drain.done
        warm, self._warm = self._warm or self._keep_warm, False
        self._keep_warm = False
        if warm and (asleep or resting):
            _log.warning("no longer warm model=%s", self._placement.spec.id)
            self._finish_unload()

    def _finish_unload(self) -> None:
        self._processes.stop()
        self._life.move(ModelPhase.UNLOADED)
        self._announce()
        self.leave(NORMAL)

    def _start_anew(self) -> None:
        self._renewing = False
        self._life.engine_gone()
        self._drain.forget()
        _log.info("renewed model=%s", self._placement.spec.id)
        self._tree = self._processes.start(self._model_dir, self.ref)
        self.monitor(self._tree)
        self._announce()

    def _start_processes(self, model_dir: Path) -> None:
        self._model_dir = model_dir
        try:
            self._processes.check(model_dir)
        except (ModelFilesError, PlacementError) as error:
            self._fail(self._named(error.code, str(error)))
            return
        self._life.prepared()
        self._announce()
        self._tree = self._processes.start(model_dir, self.ref)
        self.monitor(self._tree)

    def _give_up(self, why: str) -> None:
        """Fail of what ended its processes the last time; ``why`` if that is not known."""
        self._fail(self._named(self._deaths.code, self._deaths.last_words(why)))

    def _named(self, code: str, cause: str) -> Failure:
        return Failure(code, f"model '{self._placement.spec.id}' failed: {cause}")

    def _fail(self, failure: Failure) -> None:
        if self._life.phase in (ModelPhase.FAILED, ModelPhase.UNLOADING, ModelPhase.UNLOADED):
            return
        _log.error("failed model=%s: %s", self._placement.spec.id, failure.message)
        self._processes.stop()
        self._life.move(ModelPhase.FAILED)
        self._failure = failure
        self._announce()
        self.leave(NORMAL)

    def _announce(self) -> None:
        load, spec = self._engine_load, self._placement.spec
        state = ModelState(
            id=spec.id,
            state=self._life.phase.value,
            neuron=self._placement.neuron,
            endpoint=self._life.endpoint,
            devices=self._placement.devices,
            running=load.running,
            waiting=load.waiting,
            capacity=load.capacity,
            context_length=load.context_length,
            progress=1.0 if self._life.phase is ModelPhase.READY else self._progress,
            restarts=self._deaths.restarts,
            error="" if self._failure is None else self._failure.message,
            created=self._created,
            memory_mb=self._memory_mb,
            capabilities=self._capabilities,
        )
        self._models.notify(ModelChanged(state, self._failure, self._warm, self._weights_mb))
