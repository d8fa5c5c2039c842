"""Collectors as they are often written. Each has one mistake and must be found out.

``Honest`` is the same plain code without a mistake: it must pass, which shows that what is found
out is the mistake and not the plainness.
"""

from __future__ import annotations

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.outcome import GroupFailure, Member, RankFailure, conclude
from neuron_runtime.step import Closed, Kill, SendCancel, StepEffect, StepLimits
from transports.fence import DropCounters, DropReason
from transports.schemas.body import Body
from transports.schemas.link import Failure


class Honest:
    """Plain and right."""

    def __init__(self, members: tuple[Member, ...], limits: StepLimits) -> None:
        self.drops = DropCounters()
        self.members = {member.slot: member for member in members}
        self.awaiting: dict[int, int] = {}
        self.ends: dict[int, Body | RankFailure] = {}
        self.killed: set[int] = set()
        self.limits = limits
        self.due_at = limits.deadline
        self.cancelled_at: float | None = None
        self.closed = False
        self.hurried = False

    def sent(self, slot: int, corr: int) -> None:
        self.awaiting[slot] = corr

    def accepts(self, slot: int, inc: int, corr: int) -> bool:
        return self.members[slot].inc == inc and self.awaiting[slot] == corr

    def answered(
        self, slot: int, inc: int, corr: int, answer: Body | Failure, now: float
    ) -> tuple[StepEffect, ...]:
        if self.closed or slot in self.ends or not self.accepts(slot, inc, corr):
            self.drops.count(DropReason.STALE_CORR, now)
            return ()
        if isinstance(answer, Failure):
            self.hurried = True
            self.due_at = min(self.due_at, now + self.limits.error_grace_s)
            return self.resolve(slot, RankFailure(self.members[slot], answer.code, answer.message))
        return self.resolve(slot, answer)

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        if self.closed or slot in self.ends or not self.accepts(slot, inc, corr):
            return False
        if self.cancelled_at is None and not self.hurried:
            self.due_at = now + self.limits.round_s
        return True

    def lost(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]:
        return self.kill(slot, ExitKind.SILENT) if self.members[slot].inc == inc else ()

    def died(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]:
        if self.closed or slot in self.ends or self.members[slot].inc != inc:
            return ()
        failure = RankFailure(self.members[slot], "worker_died", detail, died=True)
        effects = self.resolve(slot, failure)
        for other in self.members:
            effects += self.kill(other, ExitKind.FENCED)
        return effects

    def cancel(self, now: float) -> None:
        self.hurried = True
        self.due_at = min(self.due_at, now)

    def tick(self, now: float) -> tuple[StepEffect, ...]:
        waiting = [slot for slot in self.members if slot not in self.ends]
        if self.closed or now < self.due_at or self.killed >= set(waiting):
            return ()
        if self.cancelled_at is None:
            self.cancelled_at = now
            return tuple(SendCancel(self.members[slot]) for slot in waiting)
        if now < self.cancelled_at + self.limits.cancel_grace_s:
            return ()
        return tuple(kill for slot in waiting for kill in self.kill(slot, ExitKind.STALLED))

    def kill(self, slot: int, kind: ExitKind) -> tuple[StepEffect, ...]:
        if self.closed or slot in self.killed or slot in self.ends:
            return ()
        self.killed.add(slot)
        return (Kill(self.members[slot], kind, ""),)

    def resolve(self, slot: int, end: Body | RankFailure) -> tuple[StepEffect, ...]:
        self.ends[slot] = end
        if len(self.ends) < len(self.members):
            return ()
        self.closed = True
        return (Closed(conclude([self.ends[slot] for slot in self.members])),)


class Untagged(Honest):
    """The next answer on a pipe is the answer to the last question."""

    def accepts(self, slot: int, inc: int, corr: int) -> bool:
        return True


class CountOnly(Honest):
    """As many answers as there are ranks, whoever they are from."""

    def answered(
        self, slot: int, inc: int, corr: int, answer: Body | Failure, now: float
    ) -> tuple[StepEffect, ...]:
        free = [each for each in self.members if each not in self.ends]
        if self.closed or not free:
            self.drops.count(DropReason.AFTER_CLOSE, now)
            return ()
        if isinstance(answer, Failure):
            return self.resolve(
                free[0], RankFailure(self.members[slot], answer.code, answer.message)
            )
        return self.resolve(free[0], answer)


class NoIncarnation(Honest):
    """A correlation id is enough."""

    def accepts(self, slot: int, inc: int, corr: int) -> bool:
        return self.awaiting[slot] == corr


class EarlyReturnOnLeaderFailure(Honest):
    """The leader has failed, so there is nothing to wait for."""

    def resolve(self, slot: int, end: Body | RankFailure) -> tuple[StepEffect, ...]:
        if self.members[slot].rank == 0 and isinstance(end, RankFailure):
            self.closed = True
            return (Closed(GroupFailure((end,))),)
        return super().resolve(slot, end)


class RaiseOnUnknown(Honest):
    """An answer that nobody waits for is a bug, so say it loudly."""

    def accepts(self, slot: int, inc: int, corr: int) -> bool:
        if not super().accepts(slot, inc, corr):
            raise KeyError(corr)
        return True


class BelievesAnyRound(Honest):
    """A sign of life is one, whoever it is from."""

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        super().progressed(slot, inc, corr, now)
        return True


class RoundsPutOffTheEnd(Honest):
    """Goes on for ever while somebody tells of rounds, though it was to end."""

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        self.hurried = False
        return super().progressed(slot, inc, corr, now)


class RoundsDoNotCount(Honest):
    """Ends an operation that goes on at the time by which its first round was due."""

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        due_at = self.due_at
        counts = super().progressed(slot, inc, corr, now)
        self.due_at = due_at
        return counts


class AbandonOnDeadline(Honest):
    """Time is up: give up on those that are silent."""

    def tick(self, now: float) -> tuple[StepEffect, ...]:
        if self.closed or now < self.due_at:
            return ()
        effects: tuple[StepEffect, ...] = ()
        for slot in [each for each in self.members if each not in self.ends]:
            late = RankFailure(self.members[slot], "deadline_exceeded", "late")
            effects += self.resolve(slot, late)
        return effects


MUTANTS: tuple[type[Honest], ...] = (
    Untagged,
    CountOnly,
    NoIncarnation,
    EarlyReturnOnLeaderFailure,
    RaiseOnUnknown,
    AbandonOnDeadline,
    BelievesAnyRound,
    RoundsPutOffTheEnd,
    RoundsDoNotCount,
)
