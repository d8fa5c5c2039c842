"""Names for places and for the lives lived in them. Any thread.

A *slot* is a stable place ("rank 1 of model m"); an *incarnation* is one process's life in a slot.
Incarnations grow strictly over all slots of one boot and are never used twice (guarantee G4), so a
message of a former life can always be told from one of the present.
"""

from __future__ import annotations

import secrets
import threading
from typing import final

_MAX_INC = 2**32 - 1


def mint_boot() -> int:
    """Return a random 64-bit id, never 0, for one run of one daemon."""
    return secrets.randbits(64) or 1


@final
class IncarnationMint:
    """Slot ids and incarnations of one boot. Slot 0 is the daemon itself.

    SAFETY: every owner of a process mints, each on its own thread; the lock makes "the next one"
    one step.
    """

    def __init__(self, boot: int) -> None:
        self.boot = boot
        self._lock = threading.Lock()
        self._slots: dict[str, int] = {}
        self._current: dict[int, int] = {}
        self._last_inc = 0

    def slot(self, place: str) -> int:
        """Return the slot id of ``place``; the same place has the same id for ever."""
        with self._lock:
            return self._slots.setdefault(place, len(self._slots) + 1)

    def mint(self, slot: int) -> int:
        """Begin a new life in ``slot`` and return its incarnation; the former one is fenced.

        Raises:
            OverflowError: After 2**32 - 1 lives; start a new boot.
        """
        with self._lock:
            if self._last_inc == _MAX_INC:
                msg = f"boot {self.boot:016x} has no incarnations left"
                raise OverflowError(msg)
            self._last_inc += 1
            self._current[slot] = self._last_inc
            return self._last_inc

    def retire(self, slot: int, inc: int) -> None:
        """End life ``inc`` of ``slot``; a no-op when a later one has begun."""
        with self._lock:
            if self._current.get(slot) == inc:
                del self._current[slot]

    def is_current(self, boot: int, slot: int, inc: int) -> bool:
        """Return whether this is the one life that may speak for ``slot`` now."""
        return boot == self.boot and self._current.get(slot) == inc
