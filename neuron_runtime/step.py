"""Collecting the answers of one operation that was fanned out to every rank of a group.

Pure: events and ``now`` in, effects out. It guarantees (semantics 5.5):

I1  Every member resolves to exactly one of result, error or death.
I3  The outcome is computed only after all have; an early error is remembered, not acted on.
I4  A deadline resolves nothing: it cancels, waits ``cancel_grace_s``, then has the silent members
    killed, whose deaths resolve them.
I5  All results: ``Ok``. The same error from all: ``RequestFailure``, and the group lives. Anything
    else: ``GroupFailure``, which names every member that failed.

Rank 0 is a member like any other. An answer counts only if the fence accepts it (guarantee G1);
anything else is dropped, counted, and touches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.outcome import Member, Outcome, RankFailure, conclude
from transports.envelope import VERSION, Header, Kind
from transports.failures import FailureCode
from transports.fence import VIOLATIONS, DropCounters, Expectation, judge
from transports.schemas.body import Body
from transports.schemas.link import Failure

CANCEL_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class StepLimits:
    """How long an operation may take. ``deadline`` is a point in monotonic time.

    After the first error the others get ``error_grace_s``: they may be waiting for the failed rank
    in a collective, where nothing but a kill will reach them. Until then, whenever a member tells
    of a round, the operation has ``round_s`` from there.
    """

    deadline: float
    cancel_grace_s: float = CANCEL_GRACE_S
    error_grace_s: float = 5.0
    round_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Tell a member that the answer is no longer wanted; its answer still counts."""

    member: Member


@dataclass(frozen=True, slots=True)
class Kill:
    """Have this incarnation killed; its death notice resolves it."""

    member: Member
    kind: ExitKind
    detail: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The operation is over; emitted exactly once."""

    outcome: Outcome


StepEffect = SendCancel | Kill | Closed


class _Phase(Enum):
    OPEN = "open"
    ENDING = "ending"
    """It gets no more time: its members are cancelled, then killed, or one has died."""
    CLOSED = "closed"


class _Seat:
    """One member during the operation. ``end`` is None until it is resolved.

    ``hindered`` says that it had no chance to answer, since another had failed that it waited for.
    """

    __slots__ = ("end", "expectation", "hindered", "kill", "member", "raw")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.expectation = Expectation(member.slot, member.inc, frozenset(), frozenset())
        self.end: Body | RankFailure | None = None
        self.raw: tuple[bytes, ...] = ()
        self.kill: Kill | None = None
        self.hindered = False

    def resolve(self, end: Body | RankFailure) -> None:
        self.end = end
        self.expectation.answered = self.expectation.awaiting
        self.expectation.awaiting = frozenset()


@final
class StepCollector:
    """One operation in flight. ``wake_at`` is when ``tick`` wants to be called, None for never."""

    def __init__(
        self, members: Sequence[Member], limits: StepLimits, drops: DropCounters | None = None
    ) -> None:
        self.drops = drops if drops is not None else DropCounters()
        self.wake_at: float | None = limits.deadline
        self._limits = limits
        self._seats = {m.slot: _Seat(m) for m in sorted(members, key=lambda member: member.rank)}
        self._waiting = len(self._seats)
        self._phase = _Phase.OPEN
        self._hurried = False

    @property
    def closed(self) -> bool:
        """Whether every member is resolved."""
        return self._phase is _Phase.CLOSED

    @property
    def unresolved(self) -> tuple[Member, ...]:
        """The members that have not answered and are not known to be dead."""
        return tuple(seat.member for seat in self._seats.values() if seat.end is None)

    def sent(self, slot: int, corr: int) -> None:
        """The request to ``slot`` went out with sequence number ``corr``."""
        expectation = self._seats[slot].expectation
        expectation.awaiting = frozenset((corr,))
        expectation.sent = corr

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        """An interim answer was read that claims to be of life ``inc``: return whether it is."""
        seat = self._seats.get(slot)
        header = Header(VERSION, Kind.CHUNK, 0, slot, inc, 1, corr, 0, 0)
        reason = judge(header, seat.expectation if seat else _NOBODY)
        if reason is not None:
            self.drops.count(reason, now)
            return False
        if self._limits.round_s and self._phase is _Phase.OPEN and not self._hurried:
            self.wake_at = now + self._limits.round_s
        return True

    def answered(
        self,
        slot: int,
        inc: int,
        corr: int,
        answer: Body | Failure,
        now: float,
        raw: tuple[bytes, ...] = (),
    ) -> tuple[StepEffect, ...]:
        """An answer was read that claims to be life ``inc`` of ``slot`` answering ``corr``."""
        seat = self._seats.get(slot)
        kind = Kind.ERROR if isinstance(answer, Failure) else Kind.RESULT
        header = Header(VERSION, kind, 0, slot, inc, 1, corr, 0, 0)
        reason = judge(header, seat.expectation if seat else _NOBODY)
        if reason is not None:
            self.drops.count(reason, now)
            if seat and reason in VIOLATIONS:
                return self._kill(seat, ExitKind.PROTOCOL, f"answered request {corr} of the future")
            return ()
        assert seat is not None  # noqa: S101 - judge accepts nothing from a source without a seat
        if not isinstance(answer, Failure):
            seat.raw = raw
            return self._resolve(seat, answer)
        self._shorten(now + self._limits.error_grace_s)
        return self._resolve(seat, RankFailure(seat.member, answer.code, answer.message))

    def lost(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]:
        """No answer can arrive from this life any more, though it may be alive: have it killed."""
        seat = self._living(slot, inc)
        return self._kill(seat, ExitKind.SILENT, detail) if seat else ()

    def stalled(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]:
        """This life makes no progress (stopped, say): do not wait for the deadline."""
        seat = self._living(slot, inc)
        return self._kill(seat, ExitKind.STALLED, detail) if seat else ()

    def died(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]:
        """The process of this life is gone for certain. A result that it left behind stands."""
        seat = self._living(slot, inc)
        if seat is None:
            return ()
        effects = [*self._resolve(seat, _death(seat, detail))]
        if not self.closed:
            self._phase = _Phase.ENDING
            self.wake_at = None
        for other in self._unresolved_seats():
            effects += self._kill(other, ExitKind.FENCED, f"after rank {seat.member.rank} died")
        return tuple(effects)

    def cancel(self, now: float) -> None:
        """Bring the deadline forward to ``now``; the next ``tick`` acts on it."""
        self._shorten(now)

    def tick(self, now: float) -> tuple[StepEffect, ...]:
        """Act on a deadline that has passed."""
        if self.wake_at is None or now < self.wake_at:
            return ()
        seats = self._unresolved_seats()
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.ENDING
            self.wake_at = now + self._limits.cancel_grace_s
            return tuple(SendCancel(seat.member) for seat in seats)
        self.wake_at = None
        failed = any(isinstance(seat.end, RankFailure) for seat in self._seats.values())
        for seat in seats:
            seat.hindered = failed
        return tuple(
            kill for seat in seats for kill in self._kill(seat, ExitKind.STALLED, "did not answer")
        )

    def _living(self, slot: int, inc: int) -> _Seat | None:
        seat = self._seats.get(slot)
        return seat if seat and seat.member.inc == inc and seat.end is None else None

    def _unresolved_seats(self) -> list[_Seat]:
        return [seat for seat in self._seats.values() if seat.end is None]

    def _shorten(self, wake_at: float) -> None:
        self._hurried = True
        if self._phase is _Phase.OPEN and self.wake_at is not None:
            self.wake_at = min(self.wake_at, wake_at)

    def _kill(self, seat: _Seat, kind: ExitKind, detail: str) -> tuple[StepEffect, ...]:
        if seat.kill or seat.end is not None:
            return ()
        seat.kill = Kill(seat.member, kind, detail)
        return (seat.kill,)

    def _resolve(self, seat: _Seat, end: Body | RankFailure) -> tuple[StepEffect, ...]:
        seat.resolve(end)
        self._waiting -= 1
        if self._waiting:
            return ()
        self._phase = _Phase.CLOSED
        self.wake_at = None
        ends: list[Body | RankFailure] = []
        for each in self._seats.values():
            each.expectation.closed = True
            if each.end is not None:
                ends.append(each.end)
        leader = next(iter(self._seats.values()))
        return (Closed(conclude(ends, leader.raw)),)


#: No source has a slot below 0, so whatever is judged by this is of an unknown one.
_NOBODY = Expectation(-1, 0, frozenset(), frozenset())


def _death(seat: _Seat, detail: str) -> RankFailure:
    member, kill = seat.member, seat.kill
    if kill is None:
        return RankFailure(member, FailureCode.WORKER_DIED, f"died ({detail})", died=True)
    message = f"was killed as {kill.kind.value}, {kill.detail} ({detail})"
    code = FailureCode.WORKER_DIED
    if kill.kind is ExitKind.STALLED:
        code = FailureCode.DEADLINE_EXCEEDED
    fenced = kill.kind is ExitKind.FENCED or seat.hindered
    return RankFailure(member, code, message, died=True, fenced=fenced)
