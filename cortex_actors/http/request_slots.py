"""How many requests a front-end process has open, and whose."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, final

NAMED_SHARE: Final = 8
NAMELESS_SHARE: Final = 1
"""So many times what is left free may a principal hold, and all without a name together."""


@final
class RequestSlots:
    """``count`` places for requests that are open at once. Any thread.

    If they are ``shared`` among principals with keys, there is room for one more of these: what
    one may hold depends on what is free (dynamic thresholds; Choudhury and Hahne, 1998), since a
    request that has begun to answer cannot be asked to make way.
    """

    def __init__(self, count: int, *, shared: bool = False) -> None:
        self._free = count
        self._shared = shared
        self._held: Counter[str] = Counter()
        # SAFETY: the threads of requests take, the reactor's gives back.
        self._lock = threading.Lock()

    def take(self, principal: str = "") -> bool:
        """Take one, unless none is free or the principal has its share."""
        share = NAMED_SHARE if principal else NAMELESS_SHARE
        with self._lock:
            if self._free <= 0:
                return False
            if self._shared and self._held[principal] >= share * self._free:
                return False
            self._free -= 1
            self._held[principal] += 1
            return True

    def release(self, principal: str = "") -> None:
        """Give back one that ``take`` gave to ``principal``."""
        with self._lock:
            self._free += 1
            self._held[principal] -= 1
            if not self._held[principal]:
                del self._held[principal]
