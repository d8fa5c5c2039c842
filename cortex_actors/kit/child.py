"""What a supervisor's rules remember of one child."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.restart_rules import BackoffStreak, RestartWindow
from cortex_actors.kit.supervision import ChildAdded


class Phase(Enum):
    """Where a child is."""

    PENDING = "pending"
    WAITING = "backoff"
    STARTING = "starting"
    UP = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"


LIVE = frozenset({Phase.STARTING, Phase.UP, Phase.STOPPING})
OVER = frozenset({Phase.FINISHED, Phase.FAILED})
UNSETTLED = frozenset({Phase.PENDING, Phase.STARTING, Phase.STOPPING})


@dataclass(slots=True, eq=False)
class Child:
    """One child. ``proven`` means that it has been up; ``wait`` is the backoff it waits for."""

    spec: ChildAdded
    window: RestartWindow
    streak: BackoffStreak
    phase: Phase = Phase.PENDING
    attempt: int = 0
    wait: int = 0
    proven: bool = False
    condemned: bool = False
    unwanted: bool = False
    init_failure: ExitReason | None = None

    @property
    def live(self) -> bool:
        """Whether there is something that runs and can exit."""
        return self.phase in LIVE
