"""Why an actor, or the process that it owns, came to its end (semantics 5.10)."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self


class ExitKind(StrEnum):
    """The closed list of endings."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    CRASH = "crash"
    KILLED = "killed"
    STALLED = "stalled"
    SILENT = "silent"
    PROTOCOL = "protocol"
    INIT_FAILED = "init_failed"
    PARENT_LOST = "parent_lost"
    FENCED = "fenced"
    NOPROC = "noproc"


_ORDERLY: Final = frozenset({ExitKind.NORMAL, ExitKind.SHUTDOWN})


@dataclass(frozen=True, slots=True)
class ExitReason:
    """One ending; two with the same kind and detail are the same ending."""

    kind: ExitKind
    detail: str = ""

    @property
    def abnormal(self) -> bool:
        """Whether a transient child that ended like this is restarted."""
        return self.kind not in _ORDERLY

    def __str__(self) -> str:
        return f"{self.kind}({self.detail})" if self.detail else str(self.kind)

    @classmethod
    def crash(cls, what: str, message: str = "") -> Self:
        """It failed: ``what`` is a stable word or the error's type."""
        return cls(ExitKind.CRASH, f"{what}: {message}" if message else what)

    @classmethod
    def raised(cls, error: BaseException) -> Self:
        """A handler raised what it should not have."""
        return cls.crash(type(error).__name__, str(error))

    @classmethod
    def init_failed(cls, error: BaseException) -> Self:
        """The constructor or ``on_start`` raised."""
        return cls(ExitKind.INIT_FAILED, cls.raised(error).detail)

    @classmethod
    def killed(cls, signal: int) -> Self:
        """A signal ended the process."""
        known = signal in signals.valid_signals()
        return cls(ExitKind.KILLED, signals.Signals(signal).name if known else str(signal))

    @classmethod
    def stalled(cls, detail: str) -> Self:
        """Busy past its deadline."""
        return cls(ExitKind.STALLED, detail)

    @classmethod
    def silent(cls, detail: str) -> Self:
        """No sign of life for too long."""
        return cls(ExitKind.SILENT, detail)

    @classmethod
    def protocol(cls, detail: str) -> Self:
        """Sent what the protocol forbids."""
        return cls(ExitKind.PROTOCOL, detail)


NORMAL: Final = ExitReason(ExitKind.NORMAL)
SHUTDOWN: Final = ExitReason(ExitKind.SHUTDOWN)
PARENT_LOST: Final = ExitReason(ExitKind.PARENT_LOST)
FENCED: Final = ExitReason(ExitKind.FENCED)
NOPROC: Final = ExitReason(ExitKind.NOPROC)
