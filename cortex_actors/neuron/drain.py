"""Whether a model has come to rest before it is unloaded, sleeps or stops. Pure."""

from __future__ import annotations

from enum import Enum
from typing import final


class _State(Enum):
    NONE = "none"
    UNDER_WAY = "under way"
    DONE = "done"


@final
class Drain:
    """One drain at a time, numbered: the end of an earlier one, told late, ends no other."""

    def __init__(self) -> None:
        self.number = 0
        self._state = _State.NONE

    @property
    def under_way(self) -> bool:
        """Whether its end is still to come."""
        return self._state is _State.UNDER_WAY

    @property
    def done(self) -> bool:
        """Whether nothing runs any more."""
        return self._state is _State.DONE

    def begin(self) -> bool:
        """Begin, unless one is under way or done; returns whether that is so."""
        if self._state is not _State.NONE:
            return False
        self._state = _State.UNDER_WAY
        self.number += 1
        return True

    def end(self, number: int) -> bool:
        """The drain of this number has ended; returns whether that was the one under way."""
        if not self.under_way or number != self.number:
            return False
        self._state = _State.DONE
        return True

    def forget(self) -> None:
        """Something may run again."""
        self._state = _State.NONE
