"""The TpWorker actor: owns one rank's process and reports its death to the engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import final

from cortex_actors.kit.handlers import handles
from cortex_actors.kit.process_actor import ProcessActor, ProcessSource
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.group_roster import GroupRoster
from cortex_actors.neuron.messages import KillAsked, MemberEnded
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.last_act import LIMIT_S
from neuron_runtime.launcher import ProcessExit
from transports.schemas.daemon import Member, MemberDown

_log = logging.getLogger("cortex.tp_worker")


@dataclass(frozen=True, slots=True)
class RankSettings:
    """What a rank of this model is started with; ``nice`` keeps the control plane ahead of it."""

    model: str
    rank: int
    backend: str
    nice: int


@final
class TpWorker(ProcessActor):
    """Starts a rank's process, enrols it in the epoch, and tells the engine when it is gone."""

    judges_stopped = True

    def __init__(
        self, settings: RankSettings, roster: GroupRoster, engine: ActorRef, source: ProcessSource
    ) -> None:
        super().__init__(source, rank_name(settings.model, settings.rank))
        self._settings = settings
        self._roster = roster
        self._engine = engine
        self._epoch = roster.epoch
        # Others have no kernels that wait for their peers on a device.
        self.notice_s = LIMIT_S if self._device.startswith("cuda") else 0.0

    @property
    def _device(self) -> str:
        return self._roster.devices[self._settings.rank]

    def on_start(self) -> None:
        """Start the process."""
        rank, roster = self._settings.rank, self._roster
        args = (
            f"--boot={self.boot}",
            f"--parent={roster.endpoint}",
            f"--backend={self._settings.backend}",
        )
        self.spawn("neuron_runtime.worker_main", args, nice=self._settings.nice)
        roster.enrol(Member(rank, self.slot, self.inc, self._device), self.ref)

    def on_stop(self, reason: ExitReason) -> None:
        """Kill the process, wait for its end, and report it unless its own end was the cause."""
        fenced = self.pid != 0
        super().on_stop(reason)
        if fenced:
            self._report(f"fenced: {reason}", stopped=not reason.abnormal)

    def process_ended(self, exit_: ProcessExit) -> None:
        """The kernel's word that this incarnation can do nothing more."""
        self._report(str(exit_.exit_reason))

    def summary(self) -> str:
        """Epoch, incarnation and process."""
        return f"epoch={self._epoch} inc={self.inc} pid={self.pid}"

    @handles(KillAsked)
    def _kill_asked(self, message: KillAsked) -> None:
        _log.warning("kill name=%s inc=%d reason=%s", self.place, self.inc, message.reason)
        self.kill(_KILLS.get(message.reason, ExitKind.STALLED))

    def _report(self, reason: str, *, stopped: bool = False) -> None:
        down = MemberDown(self._epoch, self.slot, self.inc, reason, stopped)
        self._engine.notify(MemberEnded(down))


_KILLS = {kind.value: kind for kind in (ExitKind.STALLED, ExitKind.SILENT, ExitKind.PROTOCOL)}


def rank_name(model: str, rank: int) -> str:
    """The name of a rank's actor, process and slot."""
    return f"model/{model}/rank{rank}"
