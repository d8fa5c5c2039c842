"""The EngineProcess actor: owns a model's engine process and the daemon's link to it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cortex_actors.kit.handlers import handles
from cortex_actors.kit.process_actor import ProcessActor, ProcessSource
from cortex_actors.kit.reasons import ExitKind as ReasonKind
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.messages import (
    ChildDown,
    ChildNote,
    ChildUp,
    DrainAsked,
    Drained,
    EngineEnded,
    EngineRefused,
    EngineUp,
    EpochAsleep,
    EpochBroken,
    EpochReady,
    GroupAnnounced,
    KillAsked,
    MemberEnded,
    StartOverdue,
)
from neuron_runtime.exit_codes import ExitKind
from transports.errors import TransportError
from transports.link import Link
from transports.schemas import link as link_bodies
from transports.schemas.body import Body
from transports.schemas.daemon import (
    EngineLoad,
    EngineReady,
    GroupAsleep,
    GroupBroken,
    GroupReady,
    KillMember,
    SleepGroup,
    WakeGroup,
)
from transports.schemas.group import InjectFault
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine_process")

DRAIN_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a model's engine process is started with; its link must be up after ``start_s``."""

    model: str
    model_dir: Path
    listen: str
    parent: str
    dtype: str
    quant: str
    threads: int
    max_running: int
    max_queued: int
    kv_mb: int
    start_s: float
    key_file: Path | None
    allowed_keys: Path | None


@final
class EngineProcess(ProcessActor):
    """Starts the engine, passes group events to it and its verdicts to the group.

    What must reach the engine before its link is up waits in order; there is at most one group
    announcement and a notice per rank, so the wait is bounded.
    """

    grace_s: float = 1.0
    term_s: float = 1.0
    judges_stopped = True

    def __init__(
        self, settings: EngineSettings, model: ActorRef, links: ChildLinks, source: ProcessSource
    ) -> None:
        super().__init__(source, f"model/{settings.model}/engine")
        self._settings = settings
        self._model = model
        self._links = links
        self._link: Link | None = None
        self._unsent: list[Body] = []
        self._refused = False
        self._group: GroupAnnounced | None = None

    def on_start(self) -> None:
        """Start the process."""
        settings = self._settings
        args: tuple[str, ...] = (
            f"--boot={self.boot}",
            f"--parent={settings.parent}",
            f"--model-id={settings.model}",
            f"--model-dir={settings.model_dir}",
            f"--listen={settings.listen}",
            f"--dtype={settings.dtype}",
            f"--quant={settings.quant}",
            f"--threads={settings.threads}",
            f"--max-running={settings.max_running}",
            f"--max-queued={settings.max_queued}",
            f"--kv-mb={settings.kv_mb}",
        )
        if settings.key_file is not None and settings.allowed_keys is not None:
            args += (
                f"--key-file={settings.key_file}",
                f"--allowed-keys={settings.allowed_keys}",
            )
        with self._links.starting(self.slot, self.inc, self.ref):
            self.spawn("neuron_runtime.engine_main", args)
        self.tell_later(settings.start_s, StartOverdue())

    def on_stop(self, reason: ExitReason) -> None:
        """End the process and wait for its end."""
        self._links.forget(self.slot, self.inc)
        hopeless = reason.kind is ReasonKind.INIT_FAILED
        self._model.notify(EngineEnded(str(reason), hopeless))
        super().on_stop(reason)

    def summary(self) -> str:
        """Incarnation, process and whether it is connected."""
        return f"inc={self.inc} pid={self.pid} link={'up' if self._link else 'down'}"

    @handles(ChildUp)
    def _child_up(self, message: ChildUp) -> None:
        self._link = message.link
        unsent, self._unsent = self._unsent, []
        for body in unsent:
            self._send(body)

    @handles(StartOverdue)
    def _start_overdue(self, _: StartOverdue) -> None:
        if self._link is None:
            _log.warning("engine has not connected model=%s", self._settings.model)
            self.kill(ExitKind.STALLED)

    @handles(ChildDown)
    def _child_down(self, message: ChildDown) -> None:
        self._link = None
        if self._refused:
            return  # it leaves by itself, and how it ends says that another would do the same
        # An engine that lost its link cannot learn of deaths any more: it must not go on.
        _log.warning("engine link lost model=%s reason=%s", self._settings.model, message.reason)
        self.kill(ExitKind.FENCED)

    @handles(GroupAnnounced)
    def _group_announced(self, message: GroupAnnounced) -> None:
        self._group = message
        self._send(message.start)

    @handles(MemberEnded)
    def _member_ended(self, message: MemberEnded) -> None:
        self._send(message.down)

    @handles(ChildNote)
    def _child_note(self, message: ChildNote) -> None:
        match message.body:
            case EngineReady(endpoint=endpoint, capabilities=capabilities):
                self._model.notify(EngineUp(endpoint, capabilities))
            case Failure() as failure:
                self._refused = True
                self._model.notify(EngineRefused(failure))
            case EngineLoad() as load:
                self._model.notify(load)
            case GroupReady() as ready:
                self._tell_epoch(ready.epoch, EpochReady(ready))
            case GroupAsleep() as asleep:
                self._tell_epoch(asleep.epoch, EpochAsleep(asleep))
            case GroupBroken(epoch=epoch, code=code, message=text):
                self._tell_epoch(epoch, EpochBroken(epoch, code, text))
            case KillMember() as kill:
                self._kill_member(kill)
            case other:
                _log.warning(
                    "engine said %s, which is not for a daemon, model=%s",
                    type(other).__name__,
                    self._settings.model,
                )

    @handles(InjectFault)
    def _inject(self, message: InjectFault) -> None:
        self._send(message)

    @handles(SleepGroup)
    def _sleep(self, message: SleepGroup) -> None:
        self._send(message)

    @handles(WakeGroup)
    def _wake(self, message: WakeGroup) -> None:
        self._send(message)

    @handles(DrainAsked)
    def _drain(self, message: DrainAsked) -> None:
        model, drained = self._model, Drained(message.number)
        if self._link is None:
            model.notify(drained)
            return
        try:
            self._link.request(
                link_bodies.Drain(message.grace_s),
                lambda _event: model.notify(drained),
                deadline_s=message.grace_s + DRAIN_SLACK_S,
            )
        except TransportError:
            model.notify(drained)

    def _tell_epoch(self, epoch: int, message: EpochReady | EpochAsleep | EpochBroken) -> None:
        if self._group is not None and self._group.start.epoch == epoch:
            self._group.epoch_actor.notify(message)

    def _kill_member(self, kill: KillMember) -> None:
        member = self._group.members.get(kill.inc) if self._group is not None else None
        if member is not None:
            member.notify(KillAsked(kill.reason))

    def _send(self, body: Body) -> None:
        if self._link is None:
            self._unsent.append(body)
            return
        try:
            self._link.note(body)
        except TransportError as error:
            # Its ChildDown follows and ends this engine; there is nobody to tell any more.
            _log.warning("not sent to engine model=%s: %s", self._settings.model, error)
