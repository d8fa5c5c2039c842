"""The Standby actor: keeps processes ready whose imports are done before a load needs them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.process_actor import KILL_WAIT_S
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import CyclesCounted, ModelsChanged, RenewAsked
from cortex_actors.neuron.model_lifecycle import ModelPhase
from cortex_actors.neuron.model_processes import WORKER_NICE
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.launcher import Launcher, OnExit, ProcessExit, StandbySpec

_log = logging.getLogger("cortex.standby")

# One that ended by itself would likely do so again.
RETRY_S: Final = 60.0
_BUSY = frozenset(
    {ModelPhase.PREPARING, ModelPhase.STARTING, ModelPhase.RECOVERING, ModelPhase.UNLOADING}
)

# What a load is until it has taken the processes that stood by.
_LOADING = frozenset({ModelPhase.PREPARING, ModelPhase.STARTING})

MakeSpecs = Callable[[OnExit], tuple[StandbySpec, ...]]


@dataclass(frozen=True, slots=True)
class _Ended:
    """A standby is gone that nobody asked for."""

    exit: ProcessExit


@dataclass(frozen=True, slots=True)
class _Retry:
    """It is time to try again."""


def standby_specs(backend: str, ranks: int, on_exit: OnExit) -> tuple[StandbySpec, ...]:
    """Return what is kept ready: ``ranks`` ranks, and an engine if there are any.

    Each has the priority that it will work with, because only root could raise it later.
    """
    if not ranks:
        return ()
    rank = StandbySpec(
        "neuron_runtime.worker_main", (f"--backend={backend}",), ranks, on_exit, WORKER_NICE
    )
    return rank, StandbySpec("neuron_runtime.engine_main", (), 1, on_exit)


@final
class Standby(SupervisedActor):
    """Has the launcher start what is missing whenever no model is on its way.

    A process that is assigned belongs to whoever asked for one; until then it is ours, and is gone
    when we are.
    """

    def __init__(
        self, specs: MakeSpecs, launcher: Launcher, reporter: ActorRef | None = None
    ) -> None:
        super().__init__()
        self._make_specs = specs
        self._launcher = launcher
        self._specs: tuple[StandbySpec, ...] = ()
        self._reporter = reporter
        self._busy = False
        self._waits = False
        self._renew_wanted = False
        self._renewed: set[int] = set()
        self._loading: frozenset[str] = frozenset()
        self._cycles = 0

    def on_start(self) -> None:
        """Prepare the first."""
        me = self.ref
        self._specs = self._make_specs(lambda ended: me.notify(_Ended(ended)))
        self._prepare()

    def on_stop(self, reason: ExitReason) -> None:
        """End what nobody has been assigned, and wait for its end."""
        del reason
        waiting = self._launcher.standbys
        for handle in waiting:
            handle.kill(ExitKind.SHUTDOWN)
        for handle in waiting:
            handle.exited.wait(KILL_WAIT_S)

    def summary(self) -> str:
        """The processes that wait."""
        pids = " ".join(f"{handle.pid}" for handle in self._launcher.standbys)
        return f"pids={pids or 'none'}"

    @handles(ModelsChanged)
    def _models_changed(self, message: ModelsChanged) -> None:
        self._busy = any(model.state in _BUSY for model in message.models)
        loading = frozenset(
            model.id
            for model in message.models
            if model.state in _LOADING and model.id not in message.warm
        )
        begun, self._loading = loading - self._loading, loading
        if begun:
            self._count(self._cycles + len(begun))
        self._renew()
        self._prepare()

    @handles(RenewAsked)
    def _renew_asked(self, _: RenewAsked) -> None:
        self._renew_wanted = True
        self._renew()

    @handles(_Ended)
    def _ended(self, message: _Ended) -> None:
        if message.exit.pid in self._renewed:
            self._renewed.discard(message.exit.pid)
            self._prepare()
            return
        _log.warning("standby ended pid=%d: %s", message.exit.pid, message.exit.exit_reason)
        if not self._waits:
            self._waits = True
            self.tell_later(RETRY_S, _Retry())

    @handles(_Retry)
    def _retry(self, _: _Retry) -> None:
        self._waits = False
        self._prepare()

    def _renew(self) -> None:
        if self._busy or not self._renew_wanted:
            return
        self._renew_wanted = False
        for handle in self._launcher.standbys:
            self._renewed.add(handle.pid)
            handle.kill(ExitKind.SHUTDOWN)
        self._count(0)

    def _count(self, cycles: int) -> None:
        self._cycles = cycles
        if self._reporter is not None:
            self._reporter.notify(CyclesCounted(cycles))

    def _prepare(self) -> None:
        if self._busy or self._waits:
            return
        for spec in self._specs:
            self._launcher.prepare(spec)
