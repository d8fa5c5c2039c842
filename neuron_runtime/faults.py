"""Misbehaving on purpose: what ``neurond chaos`` and the tests switch on in a rank. Off by default.

A fault is armed by an ``InjectFault`` note, or at spawn by ``CORTEX_FAULT=kill-rank@inside`` with
optional ``:after=2:times=1:seconds=0.5``; several are separated by commas.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import final

from transports.schemas.group import InjectFault

FAULT_VARIABLE = "CORTEX_FAULT"


class FaultKind(StrEnum):
    """What a rank can be made to do."""

    KILL = "kill-rank"
    STOP = "stop-rank"
    HANG = "hang-collective"
    OOM = "oom"
    SLOW = "slow-step"
    DROP = "drop-replies"


class Phase(StrEnum):
    """When a fault strikes."""

    STARTING = "starting"
    IDLE = "idle"
    BEFORE = "before"
    INSIDE = "inside"
    REPLIED = "replied"
    DRAINING = "draining"


class UnknownFault(ValueError):
    """A fault or a phase has a name that is not on the list; the message has the list."""


@final
class _Armed:
    __slots__ = ("after", "fault", "times")

    def __init__(self, fault: InjectFault) -> None:
        self.fault = fault
        self.after = fault.after
        self.times = fault.times

    def strikes(self) -> bool:
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return self.times >= 0


@final
class Faults:
    """The armed faults of one rank. Worker's main thread only."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        """Arm what ``CORTEX_FAULT`` says.

        Raises:
            UnknownFault: It names something that is not on the list, or is malformed.
        """
        faults = cls()
        for text in filter(None, environment.get(FAULT_VARIABLE, "").split(",")):
            faults.arm(parse_fault(text))
        return faults

    @property
    def armed(self) -> bool:
        """Whether anything has been switched on."""
        return bool(self._armed)

    def arm(self, fault: InjectFault) -> None:
        """Arm one fault.

        Raises:
            UnknownFault: Its kind or phase is not on the list.
        """
        checked(fault)
        self._armed.append(_Armed(fault))

    def trip(self, phase: Phase) -> None:
        """Do what is armed for ``phase``; may not return.

        Raises:
            MemoryError: By ``oom``.
        """
        for armed in self._armed:
            fault = armed.fault
            if fault.phase == phase and fault.fault != FaultKind.DROP and armed.strikes():
                _strike(FaultKind(fault.fault), fault.seconds)

    def in_collective(self) -> None:
        """Trip ``INSIDE``; a backend calls it just before its first collective of a step."""
        self.trip(Phase.INSIDE)

    def swallows_reply(self) -> bool:
        """Return whether the reply that is ready must not be sent."""
        return any(a.fault.fault == FaultKind.DROP and a.strikes() for a in self._armed)


def parse_fault(text: str) -> InjectFault:
    """Read ``kind@phase[:after=n][:times=n][:seconds=s]``.

    Raises:
        UnknownFault: It has another form or names something unknown.
    """
    head, *options = text.strip().split(":")
    kind, _, phase = head.partition("@")
    values = dict(option.partition("=")[::2] for option in options)
    try:
        fault = InjectFault(
            fault=kind,
            phase=phase,
            after=int(values.pop("after", "0")),
            times=int(values.pop("times", "1")),
            seconds=float(values.pop("seconds", "0")),
        )
    except ValueError as error:
        raise UnknownFault(f"'{text}': {error}") from error
    if values:
        raise UnknownFault(f"'{text}': unknown option {', '.join(sorted(values))}")
    return checked(fault)


def checked(fault: InjectFault) -> InjectFault:
    """Return ``fault`` if its words are on the list.

    Raises:
        UnknownFault: They are not.
    """
    if fault.fault not in set(FaultKind):
        raise UnknownFault(f"unknown fault '{fault.fault}'; there are: {', '.join(FaultKind)}")
    if fault.phase not in set(Phase):
        raise UnknownFault(f"unknown phase '{fault.phase}'; there are: {', '.join(Phase)}")
    return fault


def _strike(kind: FaultKind, seconds: float) -> None:
    match kind:
        case FaultKind.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case FaultKind.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case FaultKind.HANG:
            threading.Event().wait()
        case FaultKind.SLOW:
            time.sleep(seconds)
        case _:
            raise MemoryError("injected by neurond chaos")
