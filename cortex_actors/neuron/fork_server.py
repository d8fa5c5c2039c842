"""The ForkServer actor: keeps a process of which engines, ranks and converters are copies."""

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
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.launcher import ForkServerSpec, Launcher, OnExit, ProcessExit

_log = logging.getLogger("cortex.fork_server")

# One that ended by itself would likely do so again.
RETRY_S: Final = 60.0
_BUSY = frozenset(
    {ModelPhase.PREPARING, ModelPhase.STARTING, ModelPhase.RECOVERING, ModelPhase.UNLOADING}
)
_LOADING = frozenset({ModelPhase.PREPARING, ModelPhase.STARTING})

MakeSpec = Callable[[OnExit], ForkServerSpec | None]


@dataclass(frozen=True, slots=True)
class _Ended:
    """The process is gone."""

    exit: ProcessExit


@dataclass(frozen=True, slots=True)
class _Retry:
    """It is time to try again."""


def fork_server_spec(backend: str, preload: bool, on_exit: OnExit) -> ForkServerSpec | None:
    """Return what has to be imported for models that are computed by ``backend``, if wanted."""
    if not preload:
        return None
    modules = ("engine_main", "worker_main", "converter_main")
    computing = ("torch_backend.rank",) if backend == "torch" else ("backends.fake",)
    return ForkServerSpec(
        tuple(f"neuron_runtime.{each}" for each in modules),
        tuple(f"neuron_runtime.{each}" for each in computing),
        on_exit,
    )


@final
class ForkServer(SupervisedActor):
    """Has the launcher start the process, again when it has ended, and anew when that is asked for.

    Without it everything is started all the same, only more slowly. ``find`` looks the models up,
    which are started later and have their own part in a renewal.
    """

    def __init__(
        self,
        make_spec: MakeSpec,
        launcher: Launcher,
        reporter: ActorRef | None = None,
        find: Callable[[str], ActorRef | None] = lambda _name: None,
    ) -> None:
        super().__init__()
        self._find = find
        self._make_spec = make_spec
        self._launcher = launcher
        self._spec: ForkServerSpec | None = None
        self._reporter = reporter
        self._busy = False
        self._renew_wanted = False
        self._renewed: set[int] = set()
        self._loading: frozenset[str] = frozenset()
        self._cycles = 0

    def on_start(self) -> None:
        """Start the first."""
        me = self.ref
        self._spec = self._make_spec(lambda ended: me.notify(_Ended(ended)))
        self._start()

    def on_stop(self, reason: ExitReason) -> None:
        """End it, and wait for its end."""
        del reason
        if handle := self._launcher.fork_server:
            handle.kill(ExitKind.SHUTDOWN)
            handle.exited.wait(KILL_WAIT_S)

    def summary(self) -> str:
        """The process."""
        handle = self._launcher.fork_server
        return f"pid={handle.pid if handle else 'none'}"

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

    @handles(RenewAsked)
    def _renew_asked(self, _: RenewAsked) -> None:
        self._renew_wanted = True
        self._renew()

    @handles(_Ended)
    def _ended(self, message: _Ended) -> None:
        if message.exit.pid in self._renewed:
            self._renewed.discard(message.exit.pid)
            self._start()
            self._renew_models()
            return
        _log.warning("ended pid=%d: %s", message.exit.pid, message.exit.exit_reason)
        self.tell_later(RETRY_S, _Retry())

    @handles(_Retry)
    def _retry(self, _: _Retry) -> None:
        self._start()

    def _renew(self) -> None:
        if self._busy or not self._renew_wanted:
            return
        self._renew_wanted = False
        if handle := self._launcher.fork_server:
            self._renewed.add(handle.pid)
            handle.kill(ExitKind.SHUTDOWN)
        else:
            self._renew_models()
        self._count(0)

    def _renew_models(self) -> None:
        models = self._find("models")
        if models is not None:
            models.notify(RenewAsked())

    def _count(self, cycles: int) -> None:
        self._cycles = cycles
        if self._reporter is not None:
            self._reporter.notify(CyclesCounted(cycles))

    def _start(self) -> None:
        if self._spec is not None:
            self._launcher.preload(self._spec)
