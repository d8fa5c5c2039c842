"""Which message is accepted, and why any other is dropped (pure).

This is the rule that keeps a late answer from being taken for the answer to another question. A
drop is counted; it never raises and never touches another call.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum

from transports.envelope import Header, Kind
from transports.identity import Route
from transports.schemas.link import Hello


class DropReason(StrEnum):
    """Why a message was not accepted."""

    MALFORMED = "malformed"
    VERSION = "version"
    FOREIGN_BOOT = "foreign_boot"
    STALE_INCARNATION = "stale_incarnation"
    STALE_CORR = "stale_corr"
    DUPLICATE = "duplicate"
    UNKNOWN_SOURCE = "unknown_source"
    AFTER_CLOSE = "after_close"
    FUTURE_CORR = "future_corr"


#: Impossible for a correct peer whose connection is authenticated: the link ends.
VIOLATIONS = frozenset({DropReason.FUTURE_CORR, DropReason.UNKNOWN_SOURCE})

#: The message is not the bound peer's, so its sequence number means nothing.
NOT_THE_PEER = frozenset(
    {DropReason.UNKNOWN_SOURCE, DropReason.STALE_INCARNATION, DropReason.AFTER_CLOSE}
)

# PERF: a tuple of three compares by value; a set would hash the enum member in Python.
_REPLIES = (Kind.RESULT, Kind.ERROR, Kind.CHUNK)
_CHUNK = Kind.CHUNK


@dataclass(slots=True)
class Expectation:
    """What one end of a link is ready to accept.

    ``src`` is None until the handshake has told it. ``sent`` is the greatest sequence number that
    we have used. ``awaiting`` are the requests without a terminal event, ``answered`` the ones that
    got theirs from the peer not long ago.
    """

    src: int | None
    inc: int
    awaiting: Container[int]
    answered: Container[int]
    sent: int = 0
    closed: bool = False


def judge(header: Header, expectation: Expectation) -> DropReason | None:
    """Return None to accept the message, or why it is dropped."""
    if expectation.closed:
        return DropReason.AFTER_CLOSE
    # PERF: taken apart at once; each field by its name costs as much as all of them together.
    _, kind, _, src, inc, _, corr, _, _ = header
    if src != expectation.src and expectation.src is not None:
        return DropReason.UNKNOWN_SOURCE
    if inc != expectation.inc:
        return DropReason.STALE_INCARNATION
    if kind in _REPLIES:
        if corr:
            return judge_corr(corr, expectation)
        if kind is not _CHUNK:
            return DropReason.MALFORMED
    return None


def judge_corr(corr: int, expectation: Expectation) -> DropReason | None:
    """Judge one answer by the request that it claims to answer."""
    if corr in expectation.awaiting:
        return None
    if corr > expectation.sent:
        return DropReason.FUTURE_CORR
    if corr in expectation.answered:
        return DropReason.DUPLICATE
    return DropReason.STALE_CORR


def judge_hello(header: Header, hello: Hello, route: Route) -> DropReason | None:
    """Judge a HELLO by the routing id of the connection that it came over."""
    if hello.boot != route.boot:
        return DropReason.FOREIGN_BOOT
    if hello.slot != route.slot or header.src != route.slot:
        return DropReason.UNKNOWN_SOURCE
    if hello.inc != route.inc or header.inc != route.inc:
        return DropReason.STALE_INCARNATION
    return None


@dataclass(slots=True)
class DropCounters:
    """How many messages were dropped, by reason, and when each reason was last worth a warning."""

    drops: dict[DropReason, int] = field(default_factory=lambda: dict.fromkeys(DropReason, 0))
    lost: int = 0
    _warned: dict[DropReason, float] = field(default_factory=dict)

    def count(self, reason: DropReason, now: float) -> bool:
        """Count one drop; True when it is the first of its reason within a minute."""
        self.drops[reason] += 1
        last = self._warned.get(reason)
        if last is not None and now - last < 60.0:
            return False
        self._warned[reason] = now
        return True
