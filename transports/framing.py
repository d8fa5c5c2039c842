"""Numbers and frames what one end of a link sends (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from transports import codec
from transports.effects import Send
from transports.envelope import VERSION, Kind, pack
from transports.schemas import Body


@final
class Framer:
    """One direction of one link: every message gets the next sequence number, from 1."""

    __slots__ = ("_inc", "_src", "last")

    def __init__(self, src: int, inc: int) -> None:
        self._src = src
        self._inc = inc
        self.last = 0

    def frames(
        self,
        kind: Kind,
        payload: bytes,
        raw: Sequence[bytes] = (),
        flags: int = 0,
        corr: int = 0,
        budget_us: int = 0,
        trace: int = 0,
    ) -> list[bytes]:
        """Return the frames of the next message; ``payload`` is an encoded body."""
        self.last = seq = self.last + 1
        header = pack(VERSION, kind, flags, self._src, self._inc, seq, corr, budget_us, trace)
        return [header, payload, *raw] if raw else [header, payload]

    def control(self, kind: Kind, body: Body, corr: int = 0) -> Send:
        """Return the sending of a message of the link's own."""
        return Send(self.frames(kind, codec.encode_body(body), corr=corr))
