"""The epochs of the model's group, one after another, as the daemon starts them.

The engine outlives them all: when one breaks, the daemon is told, replaces every rank, and
announces the next; what ran is replayed there. Engine's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Protocol, final

from neuron_runtime.faults import Phase
from neuron_runtime.group import GroupState
from neuron_runtime.group_driver import OnBroken, OnClosed, OnProgress, RequestKill
from neuron_runtime.outcome import Ok, Outcome, RequestFailure
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.loop import Loop
from transports.schemas.body import Body
from transports.schemas.daemon import (
    GroupAsleep,
    GroupBroken,
    GroupReady,
    GroupStart,
    KillMember,
    Member,
    MemberDown,
    SleepGroup,
    WakeGroup,
)
from transports.schemas.group import (
    InjectFault,
    LoadShard,
    ShardAsleep,
    ShardLoaded,
    SleepShard,
    WakeShard,
)

_log = logging.getLogger("cortex.engine")


class RankGroup(Protocol):
    """One epoch's ranks, as ``neuron_runtime.group_driver.GroupDriver`` runs them."""

    @property
    def epoch(self) -> int:
        """The epoch that the daemon minted."""
        ...

    @property
    def state(self) -> GroupState:
        """Whether operations are taken."""
        ...

    def load(self, shard_of: Callable[[Member], LoadShard], on_closed: OnClosed) -> None:
        """Load the weights."""
        ...

    def execute(
        self,
        operation: Body,
        deadline_s: float,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        """Run one operation on all ranks; the frames in ``raw`` go with it."""
        ...

    def tell(self, body: Body) -> None:
        """Say something about the open operation to all ranks."""
        ...

    def member_down(self, notice: MemberDown) -> None:
        """A rank's process is gone."""
        ...

    def inject(self, fault: InjectFault) -> None:
        """Pass an operator's order to misbehave on to its rank."""
        ...

    def close(self) -> None:
        """Dismiss the ranks."""
        ...


class NewGroup(Protocol):
    """Makes the group of an epoch."""

    def __call__(
        self, start: GroupStart, *, request_kill: RequestKill, on_broken: OnBroken
    ) -> RankGroup:
        """Listen for the ranks that ``start`` names. Raises EndpointError."""
        ...


class GroupUser(Protocol):
    """Who runs steps on the group."""

    def group_ready(self, loaded: tuple[ShardLoaded, ...]) -> None:
        """A new epoch has loaded."""
        ...

    def group_lost(self) -> None:
        """The epoch is gone, and whatever its ranks knew."""
        ...


class _Rest(Enum):
    AWAKE = "awake"
    TIRED = "tired"
    """It is to sleep once the open operation has closed."""
    ASLEEP = "asleep"
    """Or on its way there, or from there."""


@final
class Epochs:
    """At most one living epoch; events of any other change nothing.

    An epoch may sleep and be woken: two operations like any other, so a rank that fails or dies
    in one breaks the epoch, and an order for another epoch than the living one does nothing.
    """

    def __init__(
        self,
        loop: Loop,
        new_group: NewGroup,
        shard: Callable[[GroupStart, Member], LoadShard],
        tell_daemon: Callable[[Body], None],
        user: GroupUser,
    ) -> None:
        self._loop = loop
        self._new_group = new_group
        self._shard = shard
        self._tell = tell_daemon
        self._user = user
        self._group: RankGroup | None = None
        self._rest = _Rest.AWAKE
        self._open = False
        self._sleep_s = 0.0
        self._for_next: dict[int, InjectFault] = {}

    @property
    def ready(self) -> bool:
        """Whether ``execute`` may be called."""
        return self._is_usable() and self._rest is _Rest.AWAKE

    def start(self, start: GroupStart) -> None:
        """Dismiss the epoch there is and load the model on the next."""
        self.close()
        _log.info("group starting epoch=%d ranks=%d", start.epoch, len(start.members))
        try:
            group = self._new_group(
                start,
                request_kill=partial(self._request_kill, start.epoch),
                on_broken=partial(self._on_broken, start.epoch),
            )
        except TransportError as error:
            self._tell(GroupBroken(start.epoch, FailureCode.INTERNAL, str(error)))
            return
        self._group = group
        for fault in self._for_next.values():
            group.inject(fault)
        self._for_next.clear()
        began = self._loop.now()
        group.load(partial(self._shard, start), partial(self._on_loaded, group, began))

    def execute(
        self,
        operation: Body,
        deadline_s: float,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        """Run one operation, with ``raw``, on all ranks of the living epoch (see ``ready``)."""
        group = self._group
        if group is None:
            msg = "there is no group"
            raise RuntimeError(msg)

        def closed(outcome: Outcome) -> None:
            if self._group is group:
                self._open = False
                on_closed(outcome)
                self._sleep_when_closed()

        def went_on(body: Body) -> None:
            if self._group is group and on_progress is not None:
                on_progress(body)

        self._open = True
        group.execute(operation, deadline_s, closed, raw, went_on)

    def tell(self, body: Body) -> None:
        """Say something about the open operation to the ranks of the living epoch."""
        if self._group is not None:
            self._group.tell(body)

    def sleep(self, order: SleepGroup) -> None:
        """Have the living epoch sleep once its open operation has closed."""
        if not self._is_meant(order.epoch, _Rest.AWAKE):
            return
        self._rest, self._sleep_s = _Rest.TIRED, order.sleep_s
        self._sleep_when_closed()

    def wake(self, order: WakeGroup) -> None:
        """Have the sleeping epoch serve again."""
        group = self._group
        if group is None or not self._is_meant(order.epoch, _Rest.ASLEEP) or self._open:
            return
        self._open = True
        woken = partial(self._on_woken, group, self._loop.now())
        group.execute(WakeShard(), order.wake_s, woken)

    def member_down(self, notice: MemberDown) -> None:
        """The daemon has seen a rank's process end."""
        if self._group is not None:
            self._group.member_down(notice)

    def inject(self, fault: InjectFault) -> None:
        """An operator wants a rank to misbehave: of the next epoch, if while it starts."""
        if fault.phase == Phase.STARTING:
            self._for_next[fault.rank] = fault
        elif self._group is not None:
            self._group.inject(fault)

    def close(self) -> None:
        """Dismiss the ranks of the epoch there is; idempotent."""
        group, self._group = self._group, None
        self._rest, self._open = _Rest.AWAKE, False
        if group is not None:
            group.close()
            self._user.group_lost()

    def _on_loaded(self, group: RankGroup, began: float, outcome: Outcome) -> None:
        if self._group is not group or not isinstance(outcome, Ok) or not self.ready:
            return  # a failed load breaks the epoch, and that is told by _on_broken
        self._serve(group, began, outcome)

    def _serve(self, group: RankGroup, began: float, outcome: Ok) -> None:
        loaded = tuple(each for each in outcome.results if isinstance(each, ShardLoaded))
        weight_bytes = sum(each.weight_bytes for each in loaded)
        kv_bytes = sum(each.kv_bytes for each in loaded)
        load_s = self._loop.now() - began
        _log.info("group ready epoch=%d load_s=%.2f bytes=%d", group.epoch, load_s, weight_bytes)
        self._tell(GroupReady(group.epoch, load_s, weight_bytes, kv_bytes))
        self._user.group_ready(loaded)

    def _is_usable(self) -> bool:
        return self._group is not None and self._group.state is GroupState.READY

    def _is_meant(self, epoch: int, rest: _Rest) -> bool:
        """Say whether an order is for the living epoch as it is; a late one is not."""
        living = self._group.epoch if self._group is not None else None
        if living == epoch and self._is_usable() and self._rest is rest:
            return True
        _log.warning("order dropped epoch=%d living=%s rest=%s", epoch, living, self._rest.value)
        return False

    def _sleep_when_closed(self) -> None:
        group = self._group
        if group is None or self._rest is not _Rest.TIRED or self._open or not self._is_usable():
            return
        self._rest, self._open = _Rest.ASLEEP, True
        self._user.group_lost()
        group.execute(SleepShard(), self._sleep_s, partial(self._on_asleep, group))

    def _on_asleep(self, group: RankGroup, outcome: Outcome) -> None:
        if self._group is not group:
            return
        self._open = False
        if not isinstance(outcome, Ok):
            self._give_up(group, outcome)
            return
        answers = (each for each in outcome.results if isinstance(each, ShardAsleep))
        left = sum(each.device_bytes for each in answers)
        _log.info("group asleep epoch=%d device_bytes=%d", group.epoch, left)
        self._tell(GroupAsleep(group.epoch, left))

    def _on_woken(self, group: RankGroup, began: float, outcome: Outcome) -> None:
        if self._group is not group:
            return
        self._open = False
        if not isinstance(outcome, Ok):
            self._give_up(group, outcome)
            return
        self._rest = _Rest.AWAKE
        if self._is_usable():
            self._serve(group, began, outcome)

    def _give_up(self, group: RankGroup, outcome: Outcome) -> None:
        """Replace ranks that all failed alike, too: they are neither awake nor asleep."""
        if isinstance(outcome, RequestFailure):
            self._on_broken(group.epoch, outcome.code, outcome.message)

    def _on_broken(self, epoch: int, code: str, message: str) -> None:
        if self._group is None or self._group.epoch != epoch:
            return
        self._tell(GroupBroken(epoch, code, message))
        self.close()

    def _request_kill(self, epoch: int, slot: int, inc: int, reason: str) -> None:
        self._tell(KillMember(epoch, slot, inc, reason))
