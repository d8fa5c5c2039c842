"""Who this process is to its peers, and the routing id that says so on a socket.

May be used from any thread.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from dataclasses import dataclass

from transports.link import Identity

_boot = (os.getpid(), secrets.randbits(64))
_incarnations = itertools.count(1)
_ROUTE = re.compile(rb"([0-9a-f]{16})\.(0|[1-9]\d{0,9})\.(0|[1-9]\d{0,9})")
_U32 = 0xFFFF_FFFF


def process_boot() -> int:
    """Return the random 64-bit id that this process drew when it first needed one."""
    global _boot  # noqa: PLW0603 -- one per process by definition
    pid = os.getpid()
    if _boot[0] != pid:
        # SAFETY: a forked child must not pass for its parent.
        _boot = (pid, secrets.randbits(64))
    return _boot[1]


def process_identity(role: str, name: str) -> Identity:
    """Return an identity for one connection or listener of this process.

    Each call has a greater incarnation than the last, so each connection can be told from the
    one before. Children started by a Launcher use the identity that it minted for them instead.
    """
    return Identity(
        boot=process_boot(), slot=0, inc=next(_incarnations), pid=os.getpid(), role=role, name=name
    )


@dataclass(frozen=True, slots=True)
class Route:
    """What a routing id says: which incarnation speaks on this connection."""

    boot: int
    slot: int
    inc: int

    @classmethod
    def of(cls, me: Identity) -> Route:
        """Return the route of a connecting end."""
        return cls(me.boot, me.slot, me.inc)

    @classmethod
    def parse(cls, routing_id: bytes) -> Route | None:
        """Return what ``routing_id`` says, or None if it does not have our form."""
        match = _ROUTE.fullmatch(routing_id)
        if match is None:
            return None
        slot, inc = int(match[2]), int(match[3])
        if slot > _U32 or inc > _U32:
            return None
        return cls(int(match[1], 16), slot, inc)

    def routing_id(self) -> bytes:
        """Return the routing id: unique per incarnation, because a reused one is unreachable."""
        return f"{self.boot:016x}.{self.slot}.{self.inc}".encode()
