"""The life of one child process as a state machine. Pure: events and ``now`` in, effects out.

    SPAWNED -> RUNNING -> STOPPING -> KILLED -> EXITED

Stopping is a ladder: close the death pipe, wait ``grace_s``, SIGTERM, wait ``term_s``, SIGKILL.
Only the kernel's word that the process is gone (``exited``) ends a life, and that exactly once.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from typing import final

from neuron_runtime.exit_codes import ExitKind, ExitReason, exit_reason

STACKS_S = 0.2
UNKILLABLE_AFTER_S = 5.0


class ProcessState(Enum):
    """Where a process is in its one life."""

    SPAWNED = "spawned"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLED = "killed"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class CloseDeathPipe:
    """Let the child read EOF, at which it ends itself."""


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Send ``signum`` through the child's pidfd."""

    signum: signal.Signals


@dataclass(frozen=True, slots=True)
class ReportUnkillable:
    """SIGKILL has had no effect for 5 s: the kernel holds the process (state D)."""


@dataclass(frozen=True, slots=True)
class NotifyExit:
    """Tell the owner, once, that the process is gone and reaped."""

    reason: ExitReason


ProcessEffect = CloseDeathPipe | SendSignal | ReportUnkillable | NotifyExit


_Rung = tuple[signal.Signals, float]
_TOP: _Rung = (signal.SIGKILL, UNKILLABLE_AFTER_S)


@final
class ProcessLife:
    """One process from spawn to reaping. ``wake_at`` is when ``tick`` wants to be called."""

    def __init__(self) -> None:
        self.state = ProcessState.SPAWNED
        self.wake_at: float | None = None
        self._asked: ExitKind | None = None
        self._rungs: tuple[_Rung, ...] = ()

    def started(self) -> None:
        """The child has been executed."""
        if self.state is ProcessState.SPAWNED:
            self.state = ProcessState.RUNNING

    def stop(self, grace_s: float, term_s: float, now: float) -> tuple[ProcessEffect, ...]:
        """Climb the ladder from its foot. Has no effect on a process that is already ending."""
        if self.state not in (ProcessState.SPAWNED, ProcessState.RUNNING):
            return ()
        self.state = ProcessState.STOPPING
        self._asked = ExitKind.SHUTDOWN
        self._rungs = ((signal.SIGTERM, term_s), _TOP)
        self.wake_at = now + grace_s
        return (CloseDeathPipe(),)

    def kill(self, kind: ExitKind, now: float, notice_s: float = 0.0) -> tuple[ProcessEffect, ...]:
        """Go to the top of the ladder; ``kind`` is what the exit will be called.

        A process that stalls or is silent is asked for its stacks first, and has 0.2 s for it. One
        that is given notice reads EOF, and has so long for its last act.
        """
        if self.state in (ProcessState.KILLED, ProcessState.EXITED):
            return ()
        self._asked = self._asked or kind
        self.state = ProcessState.KILLED
        self._rungs = (_TOP,)
        stacks_s = STACKS_S if kind in (ExitKind.STALLED, ExitKind.SILENT) else 0.0
        if not stacks_s and not notice_s:
            return self._climb(now)
        self.wake_at = now + max(stacks_s, notice_s)
        stacks = (SendSignal(signal.SIGUSR1),) if stacks_s else ()
        return (*stacks, CloseDeathPipe()) if notice_s else stacks

    def tick(self, now: float) -> tuple[ProcessEffect, ...]:
        """Take the next rung if its time has come."""
        if self.wake_at is None or now < self.wake_at:
            return ()
        if self._rungs:
            return self._climb(now)
        self.wake_at = None
        return (ReportUnkillable(),)

    def exited(self, returncode: int) -> tuple[ProcessEffect, ...]:
        """The kernel reported the end; negative ``returncode`` is a signal."""
        if self.state is ProcessState.EXITED:
            return ()
        self.state = ProcessState.EXITED
        self.wake_at = None
        return (NotifyExit(exit_reason(returncode, self._asked)),)

    def _climb(self, now: float) -> tuple[ProcessEffect, ...]:
        (signum, wait_s), *rest = self._rungs
        self._rungs = tuple(rest)
        self.wake_at = now + wait_s
        if signum is signal.SIGKILL:
            self.state = ProcessState.KILLED
        return (SendSignal(signum),)
