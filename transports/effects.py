"""What a session asks its shell to do, besides the call table's own effects (pure data)."""

from __future__ import annotations

from dataclasses import dataclass

from transports.calls import Deliver, Discard
from transports.fence import DropReason
from transports.link import Identity, OnCallEvent
from transports.schemas.body import Body


@dataclass(frozen=True, slots=True)
class Send:
    """Put these frames on the wire, before any other effect of the same batch."""

    frames: list[bytes]


@dataclass(frozen=True, slots=True)
class Up:
    """The handshake is complete."""

    peer: Identity


@dataclass(frozen=True, slots=True)
class Suspect:
    """The peer is silent, or messages of its went missing."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """This many messages never arrived."""

    count: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A REQUEST arrived; ``deadline`` is on our clock."""

    seq: int
    body: Body
    raw: tuple[bytes, ...]
    deadline: float | None
    trace: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A one-way message arrived."""

    body: Body
    raw: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """The peer no longer wants the answer to its request ``seq``."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Down:
    """The session is over; always the last effect of its life."""

    reason: str
    detail: str


Effect = (
    Send | Up | Suspect | Lacking | Asked | Noted | Revoked | Down | Deliver[OnCallEvent] | Discard
)
Effects = tuple[Effect, ...]

__all__ = [
    "Asked",
    "Deliver",
    "Discard",
    "Down",
    "DropReason",
    "Effect",
    "Effects",
    "Lacking",
    "Noted",
    "Revoked",
    "Send",
    "Suspect",
    "Up",
]
