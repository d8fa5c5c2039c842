"""How a supervisor is told about its children, and what it tells of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cortex_actors.kit.child import Phase
from cortex_actors.kit.ref import ActorRef
from cortex_actors.kit.restart_rules import Restart


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start one child; ``id`` is its name within the supervisor.

    ``start`` must be quick: work belongs in the child's ``on_start``, which may take ``start_s``
    seconds. ``shutdown_s`` is how long its end may take.
    """

    id: str
    start: Callable[[], ActorRef]
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0
    start_s: float = 30.0


@dataclass(frozen=True, slots=True)
class StartChild:
    """Ask a supervisor for one more child; the answer is its ``ActorRef`` once it is ready.

    Refused if the id is in use, the first start fails, or the supervisor is ending.
    """

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class StopChild:
    """Ask a supervisor to end a child for good; answered when it has ended, or was unknown."""

    id: str


@dataclass(frozen=True, slots=True)
class WhichChildren:
    """Ask a supervisor for its children: a tuple of ``ChildInfo`` in start order."""


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child as its supervisor sees it."""

    id: str
    phase: Phase
    restarts: int
    ref: ActorRef | None
