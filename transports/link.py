"""What a link is, seen from the code that uses one; no sockets here.

One connect is one incarnation: a link that is lost never comes back. Whoever owns it opens a new
one, with a new incarnation, so no frame of the old connection can be taken for one of the new.
Callbacks run on the reactor's thread and must not block; everything else may be called from any
thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from transports.encoded_body import EncodedBody
from transports.schemas.body import Body
from transports.schemas.generate import TextDelta
from transports.schemas.link import Failure


class LinkState(Enum):
    """Where a link is in its one life."""

    CONNECTING = "connecting"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Identity:
    """One end of a link. ``inc`` is always the incarnation of the *connecting* end."""

    boot: int
    slot: int
    inc: int
    pid: int
    role: str
    name: str


# PERF: one is made per message; a msgspec struct is made five times as quickly as a frozen
# dataclass. None of these is ever encoded.


class Chunk(msgspec.Struct, frozen=True):
    """What has come next of a stream, as one; indexes of one call are contiguous from 0."""

    index: int
    payload: TextDelta


class Progress(msgspec.Struct, frozen=True):
    """A call that takes long says how far it is (a CHUNK whose body is not a stream piece)."""

    body: Body


class Completed(msgspec.Struct, frozen=True):
    """Terminal: the answer."""

    body: Body
    raw: tuple[bytes, ...] = ()


class Failed(msgspec.Struct, frozen=True):
    """Terminal: the peer answered with a typed failure."""

    failure: Failure


class Lost(msgspec.Struct, frozen=True):
    """Terminal: no answer will be accepted any more (link gone, deadline passed, index gap)."""

    reason: str
    detail: str = ""


CallEvent = Chunk | Progress | Completed | Failed | Lost
OnCallEvent = Callable[[CallEvent], None]


class Call(Protocol):
    """A question in flight. Ends with exactly one of Completed, Failed or Lost."""

    @property
    def seq(self) -> int:
        """Sequence number of the REQUEST; the answer's ``corr``."""
        ...

    def cancel(self, reason: str = "") -> None:
        """Tell the peer that the answer is no longer wanted; idempotent.

        The terminal event still comes.
        """
        ...


class Link(Protocol):
    """Either end of one connection."""

    @property
    def peer(self) -> Identity:
        """Who is at the other end, as bound by the handshake."""
        ...

    @property
    def state(self) -> LinkState:
        """The current state; DOWN is final."""
        ...

    def request(
        self,
        body: Body | EncodedBody,
        on_event: OnCallEvent,
        *,
        deadline_s: float,
        trace: int = 0,
        raw: Sequence[bytes] = (),
    ) -> Call:
        """Send a REQUEST. ``deadline_s`` is remaining time; it travels as a budget.

        When the deadline passes a CANCEL is sent and the call ends with ``Lost("deadline")``.

        Raises:
            LinkDown: The link is not UP.
            Backpressure: The send queue is full.
        """
        ...

    def note(self, body: Body, *, trace: int = 0, raw: Sequence[bytes] = ()) -> None:
        """Send a one-way NOTE. Raises like ``request``."""
        ...

    def publish(self, pieces: Sequence[tuple[IncomingRequest, TextDelta]]) -> None:
        """Send one CHUNK message with the next pieces of these requests of this link.

        Of a request of which more than one waits, those that can be joined go as one.
        """
        ...

    def close(self, reason: str, detail: str = "") -> None:
        """Say GOODBYE and go DOWN; idempotent."""
        ...


class IncomingRequest(Protocol):
    """A REQUEST as the answering side sees it. Answer it exactly once, from any thread.

    An answer after the link went down, or a second one, is dropped and counted; it never raises.
    """

    @property
    def link(self) -> Link:
        """The link it came over, to which it is bound."""
        ...

    @property
    def seq(self) -> int:
        """The REQUEST's sequence number on its link."""
        ...

    @property
    def body(self) -> Body:
        """The decoded question."""
        ...

    @property
    def raw(self) -> tuple[bytes, ...]:
        """Raw frames that came with it."""
        ...

    @property
    def deadline(self) -> float | None:
        """The budget pinned to our monotonic clock on arrival; None is no limit."""
        ...

    @property
    def trace(self) -> int:
        """Request id hash for logs."""
        ...

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        """Have ``callback(reason)`` run, at most once, on CANCEL or when the link goes down.

        If that has already happened, it runs at once.
        """
        ...

    def progress(self, body: Body) -> None:
        """Send a Progress event."""
        ...

    def complete(self, body: Body, raw: Sequence[bytes] = ()) -> None:
        """Answer with a RESULT."""
        ...

    def fail(self, failure: Failure) -> None:
        """Answer with an ERROR."""
        ...


class LinkHandler(Protocol):
    """What the owner of a link or listener gets told, always on the reactor's thread."""

    def on_up(self, link: Link) -> None:
        """The handshake is complete."""
        ...

    def on_request(self, request: IncomingRequest) -> None:
        """A question arrived."""
        ...

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """A one-way message arrived."""
        ...

    def on_suspect(self, link: Link) -> None:
        """The peer has been silent for too long; stop dispatching to it."""
        ...

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """The link is gone; exactly once, also when the handshake failed (then without on_up)."""
        ...
