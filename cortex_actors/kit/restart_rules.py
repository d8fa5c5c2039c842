"""What a supervisor is told about restarting: types, strategies, limits, backoff."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Restart(Enum):
    """Which endings of a child are followed by a restart."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(Enum):
    """Which other children are restarted together with one that ended."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class GiveUp(Enum):
    """What happens when there were too many restarts."""

    ESCALATE = "escalate"
    FAIL_CHILD = "fail_child"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait ``first_s``, twice that, ... up to ``max_s`` before a restart, all in seconds.

    Each wait is lengthened by up to the fraction ``jitter``. Having been up for ``healthy_s``
    starts it over.
    """

    first_s: float
    max_s: float
    healthy_s: float
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class RestartRules:
    """How one supervisor restarts. More than ``intensity`` restarts in ``period_s`` is too many.

    ``intensity`` None is no limit. With ``FAIL_CHILD`` each child has a limit of its own, and
    exceeding it ends only that child.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int | None = 1
    period_s: float = 5.0
    backoff: Backoff | None = None
    give_up: GiveUp = GiveUp.ESCALATE

    def __post_init__(self) -> None:
        if self.give_up is GiveUp.FAIL_CHILD and self.strategy is not Strategy.ONE_FOR_ONE:
            msg = f"{self.strategy.value} restarts children together; none can fail alone"
            raise ValueError(msg)


@dataclass(slots=True)
class RestartWindow:
    """The restarts of the last ``period_s`` seconds."""

    intensity: int | None
    period_s: float
    _times: deque[float] = field(default_factory=deque)

    def charge(self, now: float) -> bool:
        """Count a restart before it is attempted; returns whether it is within the limit."""
        if self.intensity is None:
            return True
        while self._times and self._times[0] < now - self.period_s:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= self.intensity


@dataclass(slots=True)
class BackoffStreak:
    """The restarts since things were last healthy."""

    backoff: Backoff | None
    jitter: Callable[[], float]
    _failures: int = 0
    _up_since: float | None = None

    def up(self, now: float) -> None:
        """All that belongs to it is up."""
        self._up_since = now

    def next_delay(self, now: float) -> float:
        """Return how long to wait before the next restart, in seconds."""
        if self.backoff is None:
            return 0.0
        up_since, self._up_since = self._up_since, None
        if up_since is not None and now - up_since >= self.backoff.healthy_s:
            self._failures = 0
        # The exponent is capped because a float power overflows long before a fleet gives up.
        doubled = self.backoff.first_s * 2.0 ** min(self._failures, 60)
        self._failures += 1
        return min(doubled, self.backoff.max_s) * (1.0 + self.backoff.jitter * self.jitter())
