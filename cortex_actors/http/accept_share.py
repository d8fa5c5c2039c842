"""Who takes a new connection: front-end processes that listen on one socket share them evenly.

The kernel wakes all of them, and one that runs already is always first; without a rule it gets
nearly all connections of a burst, and refuses requests while its neighbours are idle.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final, final

YIELD_S: Final = 0.005
"""How long a process leaves a connection to others; so much a hung one costs."""

_COUNT: Final = struct.Struct("i")
_NOBODY: Final = 2**31 - 1


@final
class AcceptShare:
    """How many connections each of ``members`` processes has; made before they are forked."""

    def __init__(self, members: int) -> None:
        self._members = members
        self._counts = mmap.mmap(-1, members * _COUNT.size)
        for member in range(members):
            self.leave(member)

    def tell(self, member: int, connections: int) -> None:
        """Note how many ``member`` has."""
        _COUNT.pack_into(self._counts, member * _COUNT.size, connections)

    def leave(self, member: int) -> None:
        """Note that ``member`` takes none."""
        self.tell(member, _NOBODY)

    def least_of_others(self, member: int) -> int:
        """Return the least number that any other has; a very large one if there is no other."""
        others = (other for other in range(self._members) if other != member)
        return min(map(self._count, others), default=_NOBODY)

    def _count(self, member: int) -> int:
        count: int = _COUNT.unpack_from(self._counts, member * _COUNT.size)[0]
        return count


@final
class AcceptRule:
    """When one process takes a connection; pure. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._yielding_since: float | None = None

    def takes(self, mine: int, least_of_others: int, now: float) -> bool:
        """Say whether to accept, with so many connections here and at the emptiest neighbour."""
        if mine <= least_of_others:
            self._yielding_since = None
            return True
        if self._yielding_since is None:
            self._yielding_since = now
        if now - self._yielding_since < YIELD_S:
            return False
        self._yielding_since = None
        return True
