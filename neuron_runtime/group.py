"""One epoch of a tensor-parallel group: who is in it and whether it may be used. Pure.

    STARTING --first operation ok--> READY --a death, a divergence--> BROKEN

The first operation loads the weights; its requests go out as the members' links come up. At most
one operation is open (semantics I2). BROKEN is final: a new epoch with new incarnations follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.outcome import GroupFailure, Member, Ok, RankFailure, RequestFailure
from neuron_runtime.step import Closed, Kill, StepCollector, StepEffect, StepLimits
from transports.failures import FailureCode
from transports.fence import DropCounters
from transports.schemas.body import Body
from transports.schemas.link import Failure


class GroupState(Enum):
    """Where an epoch is in its one life."""

    STARTING = "starting"
    READY = "ready"
    BROKEN = "broken"


class GroupBusy(Exception):
    """An operation is open: a second one could read its answers."""


class GroupUnusable(Exception):
    """The epoch is broken; wait for its successor."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Send the open operation's request to this member now."""

    member: Member


@dataclass(frozen=True, slots=True)
class Broken:
    """The epoch must be replaced; emitted exactly once, after the open operation has closed.

    A lost link leads here by way of the member's death, which is asked for. ``ordinary`` says that
    the daemon has stopped the members and no failure has led here.
    """

    code: str
    message: str
    ordinary: bool = False


GroupEffect = StepEffect | SendRequest | Broken


@final
class Group:
    """Feed it what happens to the members; execute the effects it returns, in order."""

    def __init__(self, epoch: int, members: Sequence[Member]) -> None:
        self.epoch = epoch
        self.members = tuple(sorted(members, key=lambda member: member.rank))
        self.state = GroupState.STARTING
        self.drops = DropCounters()
        self._by_slot = {member.slot: member for member in self.members}
        self._send_to = {member.slot: SendRequest(member) for member in self.members}
        self._linked: set[int] = set()
        self._failed: dict[int, RankFailure] = {}
        self._stopped: set[int] = set()
        self._open: StepCollector | None = None
        self._told_broken = False

    @property
    def busy(self) -> bool:
        """Whether an operation is open."""
        return self._open is not None and not self._open.closed

    @property
    def wake_at(self) -> float | None:
        """When ``tick`` wants to be called, in monotonic seconds; None for never."""
        return self._open.wake_at if self._open else None

    @property
    def unresolved(self) -> tuple[Member, ...]:
        """The members that the open operation waits for."""
        return self._open.unresolved if self._open else ()

    def refusal(self, slot: int, inc: int) -> str | None:
        """Say why a link from this life must be refused, or None to welcome it."""
        member = self._by_slot.get(slot)
        if member is None:
            return "unknown_source"
        if member.inc != inc or slot in self._failed:
            return "stale_incarnation"
        return "duplicate" if slot in self._linked else None

    def begin(self, limits: StepLimits) -> tuple[GroupEffect, ...]:
        """Open an operation on all members.

        Raises:
            GroupBusy: The previous operation is not closed.
            GroupUnusable: The epoch is broken.
        """
        if self.busy:
            msg = f"epoch {self.epoch} has an open operation"
            raise GroupBusy(msg)
        if self.state is GroupState.BROKEN:
            msg = f"epoch {self.epoch} is broken"
            raise GroupUnusable(msg)
        self._open = StepCollector(self.members, limits, self.drops)
        return tuple([self._send_to[m.slot] for m in self.members if m.slot in self._linked])

    def linked(self, slot: int) -> tuple[GroupEffect, ...]:
        """The member's link is up (and ``refusal`` had nothing against it)."""
        self._linked.add(slot)
        return (self._send_to[slot],) if self.busy else ()

    def sent(self, slot: int, corr: int) -> None:
        """The open operation's request to ``slot`` went out with sequence number ``corr``."""
        if self._open:
            self._open.sent(slot, corr)

    def answered(
        self,
        slot: int,
        inc: int,
        corr: int,
        answer: Body | Failure,
        now: float,
        raw: tuple[bytes, ...] = (),
    ) -> tuple[GroupEffect, ...]:
        """An answer was read; see ``StepCollector.answered``."""
        if self._open is None:
            return ()
        return self._after(self._open.answered(slot, inc, corr, answer, now, raw))

    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool:
        """An interim answer was read; see ``StepCollector.progressed``."""
        return self._open is not None and self._open.progressed(slot, inc, corr, now)

    def lost(self, slot: int, inc: int, detail: str) -> tuple[GroupEffect, ...]:
        """The member's link is gone or its request could not be sent; it may still be alive."""
        member = self._by_slot.get(slot)
        if member is None or member.inc != inc or slot in self._failed:
            return ()
        self.state = GroupState.BROKEN
        self._failed[slot] = RankFailure(member, FailureCode.WORKER_DIED, detail)
        if self._open and member in self.unresolved:
            return self._after(self._open.lost(slot, inc, detail))
        return self._after((Kill(member, ExitKind.SILENT, detail),))

    def stalled(self, slot: int, inc: int, detail: str) -> tuple[GroupEffect, ...]:
        """The member makes no progress on the open operation."""
        return self._after(self._open.stalled(slot, inc, detail)) if self._open else ()

    def died(
        self, slot: int, inc: int, detail: str, *, stopped: bool = False
    ) -> tuple[GroupEffect, ...]:
        """The member's process is gone for certain; ``stopped`` by the daemon in good order."""
        member = self._by_slot.get(slot)
        before = self._failed.get(slot)
        if member is None or member.inc != inc or (before and before.died):
            return ()
        self.state = GroupState.BROKEN
        message = f"{before.message if before else 'died'} ({detail})"
        self._failed[slot] = RankFailure(member, FailureCode.WORKER_DIED, message, died=True)
        if stopped:
            self._stopped.add(slot)
        return self._after(self._open.died(slot, inc, detail) if self._open else ())

    def cancel(self, now: float) -> tuple[GroupEffect, ...]:
        """End the open operation soon: cancel it as if its deadline were ``now``."""
        if self._open is None:
            return ()
        self._open.cancel(now)
        return self.tick(now)

    def tick(self, now: float) -> tuple[GroupEffect, ...]:
        """Act on a deadline that has passed."""
        return self._after(self._open.tick(now)) if self._open else ()

    def _after(self, effects: Sequence[GroupEffect]) -> tuple[GroupEffect, ...]:
        if not effects and self.state is not GroupState.BROKEN:
            return ()
        # A lost link is not the end: the death that follows says what it was, and of whom.
        failure: GroupFailure | RequestFailure | None = None
        if any(failed.died for failed in self._failed.values()):
            known = (self._failed.get(member.slot) for member in self.members)
            failure = GroupFailure(tuple(failed for failed in known if failed))
        for effect in effects:
            if not isinstance(effect, Closed):
                continue
            match effect.outcome:
                case Ok() if self.state is GroupState.STARTING:
                    self.state = GroupState.READY
                case RequestFailure() if self.state is GroupState.STARTING:
                    self.state = GroupState.BROKEN
                    failure = effect.outcome
                case GroupFailure(failures):
                    self.state = GroupState.BROKEN
                    failure = self._with_those_that_had_answered(failures)
        if failure is None or self.busy or self._told_broken:
            return tuple(effects)
        self._told_broken = True
        died = {slot for slot, failed in self._failed.items() if failed.died}
        ordinary = failure.code == FailureCode.WORKER_DIED and died <= self._stopped
        return (*effects, Broken(failure.code, failure.message, ordinary))

    def _with_those_that_had_answered(self, failures: tuple[RankFailure, ...]) -> GroupFailure:
        """A member that answered and then failed is the cause too, though its answer stands."""
        by_slot = self._failed | {failure.member.slot: failure for failure in failures}
        known = (by_slot.get(member.slot) for member in self.members)
        return GroupFailure(tuple(failed for failed in known if failed))
