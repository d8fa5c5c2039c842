"""What a session asks its shell to do, besides the call table's own effects (pure data)."""

from __future__ import annotations

import msgspec

from transports.calls import Deliver, Discard
from transports.link import Identity, OnCallEvent
from transports.schemas.body import Body

# PERF: made once or more per message; a msgspec struct is made five times as quickly as a frozen
# dataclass. None of these is ever encoded.


class Send(msgspec.Struct, frozen=True):
    """Put these frames on the wire, before any other effect of the same batch."""

    frames: list[bytes]


class Up(msgspec.Struct, frozen=True):
    """The handshake is complete."""

    peer: Identity


class Suspect(msgspec.Struct, frozen=True):
    """The peer is silent, or messages of its went missing."""


class Lacking(msgspec.Struct, frozen=True):
    """This many messages never arrived."""

    count: int


class Asked(msgspec.Struct, frozen=True):
    """A REQUEST arrived; ``deadline`` is on our clock."""

    seq: int
    body: Body
    raw: tuple[bytes, ...]
    deadline: float | None
    trace: int


class Noted(msgspec.Struct, frozen=True):
    """A one-way message arrived."""

    body: Body
    raw: tuple[bytes, ...]


class Revoked(msgspec.Struct, frozen=True):
    """The peer no longer wants the answer to its request ``seq``."""

    seq: int
    reason: str


class Down(msgspec.Struct, frozen=True):
    """The session is over; always the last effect of its life."""

    reason: str
    detail: str


Effect = (
    Send | Up | Suspect | Lacking | Asked | Noted | Revoked | Down | Deliver[OnCallEvent] | Discard
)
Effects = tuple[Effect, ...]
