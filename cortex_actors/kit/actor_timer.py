"""Messages that an actor sends to itself later; they die with its incarnation."""

from __future__ import annotations

from typing import Any, final

from cortex_actors.kit.cell import Cell
from cortex_actors.kit.monitor import Claimed
from cortex_actors.kit.timers import TIMERS, Timer
from transports.clock import MonotonicClock

_clock = MonotonicClock()


@final
class ActorTimer:
    """A message to come. Only its actor's own thread may touch it.

    At most one message per timer is in the inbox, so a fast timer does not flood a slow actor. A
    message that is there already when the timer is cancelled is not delivered.
    """

    def __init__(
        self,
        cell: Cell,
        dependents: set[Any],
        delay_s: float,
        message: object,
        *,
        periodic: bool,
    ) -> None:
        self._cell = cell
        self._dependents = dependents
        self._delay_s = delay_s
        self._letter = Claimed(self, message)
        self._periodic = periodic
        self._due = _clock.now()
        self._live = True
        dependents.add(self)
        self._timer = self._arm()

    def cancel(self) -> None:
        """Have the message not come; idempotent."""
        self._live = False
        self._dependents.discard(self)
        self._timer.cancel()

    def take(self) -> bool:
        """Whether to deliver the message that has come."""
        if not self._live:
            return False
        if self._periodic:
            self._timer = self._arm()
        else:
            self.cancel()
        return True

    def _arm(self) -> Timer:
        now = _clock.now()
        self._due = max(self._due + self._delay_s, now)
        return TIMERS.after(self._due - now, self._fire)

    def _fire(self) -> None:
        self._cell.notify(self._letter)
