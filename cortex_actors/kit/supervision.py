"""What a supervisor's rules are told and what they want done: events and effects.

``attempt`` numbers every start of every child of one supervisor; it never repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.restart_rules import Restart


@dataclass(frozen=True, slots=True)
class ChildAdded:
    """Event: there is one more child. Both limits are in seconds."""

    child: str
    restart: Restart = Restart.PERMANENT
    start_s: float = 30.0
    shutdown_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Boot:
    """Event, the first: start these in order."""

    children: tuple[ChildAdded, ...]


@dataclass(frozen=True, slots=True)
class ChildRemoved:
    """Event: this child is not wanted any more."""

    child: str


@dataclass(frozen=True, slots=True)
class Started:
    """Event: the attempt succeeded."""

    child: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Exited:
    """Event: the attempt is dead. Before ``Started`` it means that the start failed."""

    child: str
    attempt: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Overdue:
    """Event: the time limit of the last ``Start`` or ``Stop`` of this attempt has passed."""

    child: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Waited:
    """Event: this ``Wait`` is over."""

    wait: int


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Event: stop all children and end."""

    reason: ExitReason


Event = Boot | ChildAdded | ChildRemoved | Started | Exited | Overdue | Waited | StopRequested


@dataclass(frozen=True, slots=True)
class Start:
    """Effect: start the child; ``Started`` or ``Exited`` follows, or ``Overdue``."""

    child: str
    attempt: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Effect: ask the child to end; ``Exited`` follows, or ``Overdue``."""

    child: str
    attempt: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Abandon:
    """Effect: the child does not react. Fence it; nothing more is expected of it."""

    child: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Effect: send ``Waited`` in ``delay_s`` seconds."""

    wait: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Forget:
    """Effect: the child is gone for good."""

    child: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Fail:
    """Effect: the child is not restarted any more; it stays listed as failed."""

    child: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Booted:
    """Effect, once: the children of ``Boot`` are up."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """Effect, the last: no child lives; end with this reason."""

    reason: ExitReason


Effect = Start | Stop | Abandon | Wait | Forget | Fail | Booted | Terminate
