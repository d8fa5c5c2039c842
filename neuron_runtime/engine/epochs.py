"""The epochs of the model's group, one after another, as the daemon starts them.

The engine outlives them all: when one breaks, the daemon is told, replaces every rank, and
announces the next; what ran is replayed there. Engine's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, final

from neuron_runtime.group import GroupState
from neuron_runtime.group_driver import OnBroken, OnClosed, RequestKill
from neuron_runtime.outcome import Ok, Outcome
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.loop import Loop
from transports.schemas.body import Body
from transports.schemas.daemon import (
    GroupBroken,
    GroupReady,
    GroupStart,
    KillMember,
    Member,
    MemberDown,
)
from transports.schemas.group import InjectFault, LoadShard, ShardLoaded

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
    ) -> None:
        """Run one operation on all ranks; the frames in ``raw`` go with it."""
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


@final
class Epochs:
    """At most one living epoch; events of any other change nothing."""

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

    @property
    def ready(self) -> bool:
        """Whether ``execute`` may be called."""
        return self._group is not None and self._group.state is GroupState.READY

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
        began = self._loop.now()
        group.load(partial(self._shard, start), partial(self._on_loaded, group, began))

    def execute(
        self,
        operation: Body,
        deadline_s: float,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
    ) -> None:
        """Run one operation, with ``raw``, on all ranks of the living epoch (see ``ready``)."""
        group = self._group
        if group is None:
            msg = "there is no group"
            raise RuntimeError(msg)

        def closed(outcome: Outcome) -> None:
            if self._group is group:
                on_closed(outcome)

        group.execute(operation, deadline_s, closed, raw)

    def member_down(self, notice: MemberDown) -> None:
        """The daemon has seen a rank's process end."""
        if self._group is not None:
            self._group.member_down(notice)

    def inject(self, fault: InjectFault) -> None:
        """An operator wants a rank to misbehave."""
        if self._group is not None:
            self._group.inject(fault)

    def close(self) -> None:
        """Dismiss the ranks of the epoch there is; idempotent."""
        group, self._group = self._group, None
        if group is not None:
            group.close()
            self._user.group_lost()

    def _on_loaded(self, group: RankGroup, began: float, outcome: Outcome) -> None:
        if self._group is not group or not isinstance(outcome, Ok) or not self.ready:
            return  # a failed load breaks the epoch, and that is told by _on_broken
        loaded = tuple(each for each in outcome.results if isinstance(each, ShardLoaded))
        weight_bytes = sum(each.weight_bytes for each in loaded)
        kv_bytes = sum(each.kv_bytes for each in loaded)
        load_s = self._loop.now() - began
        _log.info("group ready epoch=%d load_s=%.2f bytes=%d", group.epoch, load_s, weight_bytes)
        self._tell(GroupReady(group.epoch, load_s, weight_bytes, kv_bytes))
        self._user.group_ready(loaded)

    def _on_broken(self, epoch: int, code: str, message: str) -> None:
        if self._group is None or self._group.epoch != epoch:
            return
        self._tell(GroupBroken(epoch, code, message))
        self.close()

    def _request_kill(self, epoch: int, slot: int, inc: int, reason: str) -> None:
        self._tell(KillMember(epoch, slot, inc, reason))
