"""An actor that owns one process: starts it, dies with it, never leaves it behind."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.process_reason import process_reason
from cortex_actors.kit.reasons import ExitKind as ActorExit
from cortex_actors.kit.reasons import ExitReason
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.incarnation import IncarnationMint
from neuron_runtime.launcher import (
    Launcher,
    ProcessExit,
    ProcessHandle,
    ProcessSpec,
    SpawnFailed,
)
from neuron_runtime.stopped import INTERVAL_S, StoppedWatch, process_state
from transports.clock import MonotonicClock

_log = logging.getLogger("cortex.process")

KILL_WAIT_S = 5.0
FORMER_WAIT_S = 15.0
"""For the end of a former process that takes its time, as one does that gives back much memory."""


@dataclass(frozen=True, slots=True)
class ProcessSource:
    """What every owner of a process needs: who starts it and who names its life.

    ``latest`` is the process that was started last in each slot. Any thread; a slot has one owner.
    """

    launcher: Launcher
    mint: IncarnationMint
    latest: dict[int, ProcessHandle] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """The process is gone and reaped."""

    exit: ProcessExit


@dataclass(frozen=True, slots=True)
class KillOverdue:
    """A process that was killed should be gone by now."""


@dataclass(frozen=True, slots=True)
class LookAtProcess:
    """It is time to see whether the process is stopped."""


class ProcessActor(SupervisedActor):
    """Base of the owners. A subclass calls ``spawn`` in its ``on_start``.

    When the process ends, so does the actor, with the matching reason. When the actor ends first,
    it ends the process and waits until the kernel has reaped it, so that a successor is never
    started beside it (guarantee G4). What no signal ends (a driver or a file server holds it in the
    kernel) is waited for so long and no longer: then its actor ends, and a successor waits for it
    in its turn, and fails. ``grace_s`` and ``term_s`` are the ladder; both 0 means
    SIGKILL at once, or after ``notice_s`` for its last act (``neuron_runtime.last_act``).

    A process that stays stopped (SIGSTOP) is killed as stalled if ``judges_stopped``. Until its
    link is up, nobody else can tell that it will never come.
    """

    grace_s: float = 0.0
    term_s: float = 0.0
    notice_s: float = 0.0
    judges_stopped: bool = False

    def __init__(self, source: ProcessSource, place: str) -> None:
        super().__init__()
        self.place = place
        self.slot = source.mint.slot(place)
        self.inc = source.mint.mint(self.slot)
        self.boot = source.mint.boot
        self._launcher, self._latest = source.launcher, source.latest
        self._handle: ProcessHandle | None = None
        self._stopped, self._clock = StoppedWatch(), MonotonicClock()

    @property
    def pid(self) -> int:
        """The process id, 0 when there is none."""
        return self._handle.pid if self._handle is not None else 0

    def spawn(self, module: str, args: tuple[str, ...], nice: int = 0) -> None:
        """Start ``python -m module *args``.

        Raises:
            LauncherStopped: The daemon is shutting down.
            SpawnFailed: The operating system refused, or the former process is still there.
        """
        former = self._latest.get(self.slot)
        if former is not None and not former.exited.wait(FORMER_WAIT_S):
            what = f"the former process of {self.place}, pid {former.pid}, has not ended"
            raise SpawnFailed(what)
        me = self.ref
        self._handle = self._launcher.spawn(
            ProcessSpec(
                name=self.place,
                module=module,
                args=args,
                slot=self.slot,
                inc=self.inc,
                on_exit=lambda ended: me.notify(ProcessEnded(ended)),
                nice=nice,
            )
        )
        self._latest[self.slot] = self._handle
        if self.judges_stopped:
            self.tell_every(INTERVAL_S, LookAtProcess())

    def kill(self, kind: ExitKind) -> None:
        """Send SIGKILL, after its notice; the actor ends when the process has."""
        if self._handle is not None:
            self._handle.kill(kind, self.notice_s)
            self.tell_later(self.notice_s + KILL_WAIT_S, KillOverdue())

    def process_ended(self, exit_: ProcessExit) -> None:
        """Hook: the process is gone for certain, whoever ended it; called once."""

    def on_stop(self, reason: ExitReason) -> None:
        """End the process and wait until it is reaped."""
        del reason
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self.grace_s or self.term_s:
            handle.stop(self.grace_s, self.term_s)
        else:
            handle.kill(ExitKind.FENCED, self.notice_s)
        if not handle.exited.wait(self.grace_s + self.term_s + self.notice_s + KILL_WAIT_S):
            _log.error("cannot be killed name=%s inc=%d pid=%d", self.place, self.inc, handle.pid)

    @handles(LookAtProcess)
    def _look_at_process(self, _: LookAtProcess) -> None:
        if self.pid and self._stopped.look({self.pid: process_state(self.pid)}, self._clock.now()):
            _log.warning("kill name=%s inc=%d: stopped by a signal", self.place, self.inc)
            self.kill(ExitKind.STALLED)

    @handles(KillOverdue)
    def _kill_overdue(self, _: KillOverdue) -> None:
        if self.pid:
            self.leave(ExitReason(ActorExit.FENCED, f"pid {self.pid} cannot be killed"))

    @handles(ProcessEnded)
    def _on_process_ended(self, message: ProcessEnded) -> None:
        self._handle = None
        self.process_ended(message.exit)
        self.leave(process_reason(message.exit.exit_reason))
