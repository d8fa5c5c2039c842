"""How our processes end, as a number and in words."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum, IntEnum

_MEANINGS: dict[int, str] = {
    0: "finished",
    2: "was started with wrong arguments",
    70: "met an internal error",
    71: "its parent is gone",
    72: "lost the link to its parent",
    73: "was refused by its parent",
    74: "could not reach its parent in time",
    75: "could not import or create its backend",
    76: "lost its device",
    78: "has a configuration error",
}


class ExitCode(IntEnum):
    """Exit codes of every process that a daemon starts. 64 and up follow BSD's sysexits."""

    OK = 0
    USAGE = 2
    INTERNAL = 70
    PARENT_LOST = 71
    LINK_LOST = 72
    REFUSED = 73
    PARENT_UNREACHABLE = 74
    BACKEND_UNAVAILABLE = 75
    DEVICE_LOST = 76
    CONFIG = 78

    @property
    def meaning(self) -> str:
        """What it says about the process, to follow the process's name."""
        return _MEANINGS[self.value]


class ExitKind(Enum):
    """Why a process is gone, as its supervisor decides on it."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    KILLED = "killed"
    STALLED = "stalled"
    SILENT = "silent"
    PROTOCOL = "protocol"
    INIT_FAILED = "init_failed"
    PARENT_LOST = "parent_lost"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Why a process is gone and the status the kernel reported.

    ``kind`` is what its owner asked for when it asked for anything, else what the status says.
    """

    kind: ExitKind
    returncode: int

    @property
    def normal(self) -> bool:
        """Whether an OTP ``transient`` child that ended so stays down."""
        return self.kind in (ExitKind.NORMAL, ExitKind.SHUTDOWN)

    def __str__(self) -> str:
        return f"{self.kind.value} ({describe(self.returncode)})"


_KIND_OF_CODE: dict[int, ExitKind] = {
    ExitCode.OK: ExitKind.NORMAL,
    ExitCode.USAGE: ExitKind.INIT_FAILED,
    ExitCode.CONFIG: ExitKind.INIT_FAILED,
    ExitCode.BACKEND_UNAVAILABLE: ExitKind.INIT_FAILED,
    ExitCode.PARENT_LOST: ExitKind.PARENT_LOST,
}


def exit_reason(returncode: int, asked: ExitKind | None) -> ExitReason:
    """Say why a process ended with ``returncode`` (negative is a signal, as in ``subprocess``)."""
    if asked is not None:
        return ExitReason(asked, returncode)
    if returncode < 0:
        return ExitReason(ExitKind.KILLED, returncode)
    return ExitReason(_KIND_OF_CODE.get(returncode, ExitKind.CRASHED), returncode)


def describe(returncode: int) -> str:
    """Put a return code into words: ``killed by SIGKILL``, ``exit 72: lost the link …``."""
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    meaning = _MEANINGS.get(returncode)
    return f"exit {returncode}: {meaning}" if meaning else f"exit {returncode}"
