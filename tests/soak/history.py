"""What a soak saw, for the checker to judge. Times are monotonic seconds of the harness. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class End(StrEnum):
    """How a request ended, as its client saw it."""

    FINISHED = "finished"
    FAILED = "failed"
    LEFT = "left"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and all that came back.

    ``door`` is the daemon that was asked; ``expected`` the answer of an undisturbed fleet, of
    ``tokens`` tokens. ``detail`` is the error's code, or how the connection was cut. ``closing``
    says whether the stream's ``[DONE]`` came, ``late`` whether anything came after the end.
    """

    number: int
    door: str
    streamed: bool
    expected: str
    tokens: int
    began: float
    ended: float | None = None
    ends: tuple[End, ...] = ()
    text: str = ""
    finish: str = ""
    counted: int | None = None
    detail: str = ""
    closing: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault. Until ``judged`` the fleet cannot be expected to have noticed it."""

    kind: str
    target: str
    at: float
    judged: float


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Blows in close succession, then rest; ``served`` is when all doors answered again."""

    blows: tuple[Blow, ...]
    served: float | None

    @property
    def began(self) -> float:
        """When the first blow fell."""
        return min(blow.at for blow in self.blows)

    @property
    def rested(self) -> float:
        """From when on the fleet has only to recover."""
        return max(blow.judged for blow in self.blows)


@dataclass(frozen=True, slots=True)
class Fall:
    """A daemon that ended without being killed by us."""

    daemon: str
    at: float
    code: int


@dataclass(frozen=True, slots=True)
class Size:
    """How much of the system a daemon occupies."""

    fds: int
    threads: int


@dataclass(frozen=True, slots=True)
class Remains:
    """What is there when all traffic is over, and what is left when the daemons have ended.

    ``busy`` are figures that must be zero; ``census`` counts processes by role; ``sizes`` are each
    daemon's, after its start and at the end.
    """

    busy: Mapping[str, int] = field(default_factory=dict)
    census: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, tuple[Size, Size]] = field(default_factory=dict)
    exit_codes: Mapping[str, int | None] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    ipc_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Everything, in no particular order."""

    exchanges: tuple[Exchange, ...]
    disturbances: tuple[Disturbance, ...]
    falls: tuple[Fall, ...] = ()
    remains: Remains = field(default_factory=Remains)
