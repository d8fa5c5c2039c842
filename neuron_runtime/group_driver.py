"""Runs one epoch's operations over the links of its ranks, inside the engine process.

A thin shell around ``Group``: it listens, fans out, feeds events in and executes effects, all on
the reactor's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import final

from neuron_runtime.group import Broken, Group, GroupEffect, GroupState, SendRequest
from neuron_runtime.outcome import Member, Outcome
from neuron_runtime.step import Closed, Kill, SendCancel, StepLimits
from neuron_runtime.stopped import INTERVAL_S, StoppedWatch, process_state
from transports.codec import encode_once
from transports.encoded_body import EncodedBody
from transports.errors import TransportError
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.link import (
    Call,
    CallEvent,
    Completed,
    Failed,
    Identity,
    IncomingRequest,
    Link,
    Lost,
    Progress,
)
from transports.listener import Listener
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.daemon import GroupStart, MemberDown
from transports.schemas.daemon import Member as MemberRecord
from transports.schemas.group import InjectFault, LoadShard, Step
from transports.schemas.link import Failure, Hello, LinkDrops
from transports.timers import Timer

_log = logging.getLogger("cortex.group")

LOAD_ERROR_GRACE_S = 30.0
# The link must not give a call up before the group has: a late answer still counts until the kill.
_LINK_SLACK_S = 30.0

RequestKill = Callable[[int, int, str], None]
OnClosed = Callable[[Outcome], None]
OnProgress = Callable[[Body], None]
OnBroken = Callable[[str, str], None]
OnDrops = Callable[[LinkDrops], None]


class _RankCall:
    """The open request to one rank; binds the answer to it."""

    __slots__ = ("call", "driver", "member")

    def __init__(self, driver: GroupDriver, member: Member) -> None:
        self.driver = driver
        self.member = member
        self.call: Call | None = None

    def __call__(self, event: CallEvent) -> None:
        self.driver.on_event(self.member, self.call.seq if self.call else 0, event)


@final
class GroupDriver:
    """One epoch of a group, from listening for its ranks to its end.

    Args:
        reactor: The engine's reactor; all methods must be called on its thread.
        me: The engine's identity; ranks of another ``boot`` are refused.
        start: The daemon's order, naming the members and the endpoint to listen at.
        request_kill: Called with ``(slot, inc, reason)``, where reason is an ``ExitKind`` value;
            the answer is a ``MemberDown`` handed to ``member_down``.
        on_broken: Called once with ``(code, message)``, after the open operation has closed.
        on_drops: Called with what ranks report of messages that they refused.

    Raises:
        EndpointError: ``start.endpoint`` cannot be bound.
    """

    def __init__(
        self,
        reactor: Reactor,
        me: Identity,
        start: GroupStart,
        *,
        request_kill: RequestKill,
        on_broken: OnBroken,
        on_drops: OnDrops,
    ) -> None:
        self._reactor = reactor
        self._me = me
        self._start = start
        self._request_kill = request_kill
        self._on_broken = on_broken
        self._on_drops = on_drops
        self._group = Group(start.epoch, [Member(m.rank, m.slot, m.inc) for m in start.members])
        self._links: dict[int, Link] = {}
        self._faults: dict[int, InjectFault] = {}
        self._calls: dict[int, _RankCall] = {}
        self._operation: Callable[[Member], Body | EncodedBody] = _no_operation
        self._raw: tuple[bytes, ...] = ()
        self._on_closed: OnClosed = _ignore
        self._on_progress: OnProgress = _ignore
        self._deadline_s = 0.0
        self._armed_for: float | None = None
        self._timer: Timer | None = None
        self._watch = StoppedWatch()
        self._closed = False
        self._listener: Listener = reactor.listen(start.endpoint, me, self, admit=self._admit)
        self._inspection: Timer = reactor.call_later(INTERVAL_S, self._inspect)

    @property
    def epoch(self) -> int:
        """The epoch that the daemon minted."""
        return self._group.epoch

    @property
    def state(self) -> GroupState:
        """STARTING until the load is closed, READY while operations are taken, then BROKEN."""
        return self._group.state

    @property
    def busy(self) -> bool:
        """Whether an operation is open."""
        return self._group.busy

    @property
    def drops(self) -> dict[DropReason, int]:
        """Answers that reached the group and were not accepted, by reason."""
        return self._group.drops.drops

    def load(self, shard_of: Callable[[MemberRecord], LoadShard], on_closed: OnClosed) -> None:
        """Load the weights: the first operation, limited by ``start.start_s`` from now.

        Each rank's request goes out when its link comes up. Raises like ``execute``.
        """
        shards = {record.slot: shard_of(record) for record in self._start.members}
        limits = StepLimits(
            self._reactor.now() + self._start.start_s, error_grace_s=LOAD_ERROR_GRACE_S
        )
        self._begin(lambda member: shards[member.slot], self._start.start_s, limits, on_closed)

    def execute(
        self,
        operation: Body,
        deadline_s: float,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        """Send ``operation`` to all ranks; ``on_closed`` gets its outcome exactly once.

        The frames in ``raw`` go with it. What a rank says of it before that goes to
        ``on_progress``, and gives the operation another ``deadline_s``.

        ``on_closed`` may call ``execute`` again if ``state`` is READY.

        Raises:
            GroupBusy: The previous operation is not closed.
            GroupUnusable: The epoch is broken.
        """
        limits = StepLimits(self._reactor.now() + deadline_s, round_s=deadline_s)
        shared = encode_once(operation)
        rounds = operation.rounds if isinstance(operation, Step) else 1
        self._begin(lambda _: shared, rounds * deadline_s, limits, on_closed, raw, on_progress)

    def tell(self, body: Body) -> None:
        """Say something about the open operation to all ranks; those without a link miss it."""
        for link in self._links.values():
            try:
                link.note(body)
            except TransportError as error:
                _log.debug("rank not told slot=%d: %s", link.peer.slot, error)

    def cancel(self) -> None:
        """End the open operation soon; its outcome still comes."""
        self._perform(self._group.cancel(self._reactor.now()))

    def member_down(self, notice: MemberDown) -> None:
        """The daemon has reaped a rank's process."""
        if notice.epoch == self.epoch and not self._closed:
            self._perform(
                self._group.died(notice.slot, notice.inc, notice.reason, stopped=notice.stopped)
            )

    def inject(self, fault: InjectFault) -> None:
        """Pass an operator's order to misbehave on to its rank.

        One without a link gets it as soon as it has one, before its first operation.
        """
        for member in self._start.members:
            if member.rank == fault.rank:
                self._faults[member.slot] = fault
                self._pass_fault_on(member.slot)

    def close(self) -> None:
        """Stop listening and say GOODBYE to all ranks, which makes them exit; idempotent.

        An operation that is still open gets no outcome: ``cancel`` and wait for it first.
        """
        if self._closed:
            return
        self._closed = True
        self._inspection.cancel()
        if self._timer:
            self._timer.cancel()
        for link in list(self._links.values()):
            link.close("shutdown")
        self._listener.close()

    def on_up(self, link: Link) -> None:
        """LinkHandler: a rank has come up."""
        self._links[link.peer.slot] = link
        self._pass_fault_on(link.peer.slot)
        self._perform(self._group.linked(link.peer.slot))

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """LinkHandler: a rank's link is gone; its process may or may not be."""
        peer = link.peer
        if self._closed or self._links.get(peer.slot) is not link:
            return
        _log.warning("rank link down slot=%d inc=%d reason=%s", peer.slot, peer.inc, reason)
        del self._links[peer.slot]
        said = f"lost its link: {reason} {detail}".rstrip()
        self._perform(self._group.lost(peer.slot, peer.inc, said))

    def on_suspect(self, link: Link) -> None:
        """LinkHandler: an idle rank is silent; the link will be given up if that lasts."""
        _log.warning("rank suspect slot=%d inc=%d", link.peer.slot, link.peer.inc)

    def on_request(self, request: IncomingRequest) -> None:
        """LinkHandler: ranks answer and never ask."""
        request.fail(Failure(FailureCode.INVALID_REQUEST, "an engine answers no rank's questions"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """LinkHandler: ranks say what they refused, and nothing else."""
        del link, raw
        if isinstance(body, LinkDrops):
            self._on_drops(body)

    def on_event(self, member: Member, corr: int, event: CallEvent) -> None:
        """Feed one event of the request ``corr`` to ``member``."""
        now = self._reactor.now()
        group, slot, inc = self._group, member.slot, member.inc
        match event:
            case Completed(body, raw):
                self._perform(group.answered(slot, inc, corr, body, now, raw))
            case Failed(failure):
                self._perform(group.answered(slot, inc, corr, failure, now))
            case Progress(body):
                if group.progressed(slot, inc, corr, now):
                    self._on_progress(body)
                    self._arm()
            case Lost(reason, detail) if not self._closed:
                self._perform(group.lost(slot, inc, f"gave no answer: {reason} {detail}".rstrip()))
            case _:
                _log.debug("not counted rank=%d event=%s", member.rank, event)

    def _pass_fault_on(self, slot: int) -> None:
        link = self._links.get(slot)
        if link and slot in self._faults:
            link.note(self._faults.pop(slot))

    def _begin(
        self,
        operation: Callable[[Member], Body | EncodedBody],
        deadline_s: float,
        limits: StepLimits,
        on_closed: OnClosed,
        raw: tuple[bytes, ...] = (),
        on_progress: OnProgress | None = None,
    ) -> None:
        effects = self._group.begin(limits)
        self._operation, self._deadline_s, self._on_closed = operation, deadline_s, on_closed
        self._raw, self._on_progress = raw, on_progress or _ignore
        self._calls.clear()
        self._perform(effects)

    def _admit(self, hello: Hello) -> str | None:
        if hello.boot != self._me.boot:
            return "foreign_boot"
        return self._group.refusal(hello.slot, hello.inc)

    def _perform(self, effects: tuple[GroupEffect, ...]) -> None:
        for effect in effects:
            match effect:
                case SendRequest(member):
                    self._send(member)
                case SendCancel(member):
                    self._send_cancel(member)
                case Kill(member, kind, detail):
                    _log.warning("kill rank=%d inc=%d: %s", member.rank, member.inc, detail)
                    self._request_kill(member.slot, member.inc, kind.value)
                case Closed(outcome):
                    self._on_closed(outcome)
                case Broken(_, message, ordinary=True):
                    _log.info("group stopped epoch=%d: %s", self.epoch, message)
                    self._on_broken(effect.code, message)
                case Broken(code, message):
                    _log.error("group broken epoch=%d code=%s: %s", self.epoch, code, message)
                    self._on_broken(code, message)
        self._arm()

    def _send(self, member: Member) -> None:
        rank_call = _RankCall(self, member)
        try:
            rank_call.call = self._links[member.slot].request(
                self._operation(member),
                rank_call,
                deadline_s=self._deadline_s + _LINK_SLACK_S,
                raw=self._raw,
            )
        except (TransportError, KeyError) as error:
            detail = f"could not be sent to: {error}"
            # Later, because the outcome must not come before ``execute`` has returned.
            lost = partial(self._group.lost, member.slot, member.inc, detail)
            self._reactor.call_soon(lambda: self._perform(lost()))
            return
        self._calls[member.slot] = rank_call
        self._group.sent(member.slot, rank_call.call.seq)

    def _send_cancel(self, member: Member) -> None:
        rank_call = self._calls.get(member.slot)
        if rank_call and rank_call.call:
            rank_call.call.cancel("deadline")

    def _arm(self) -> None:
        # PERF: the armed timer is kept while it is early enough; most steps close long before.
        wake_at = self._group.wake_at
        if wake_at is None or self._closed:
            return
        if self._timer and self._armed_for is not None and self._armed_for <= wake_at:
            return
        if self._timer:
            self._timer.cancel()
        self._armed_for = wake_at
        self._timer = self._reactor.call_later(wake_at - self._reactor.now(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._closed:
            self._perform(self._group.tick(self._reactor.now()))

    def _inspect(self) -> None:
        if self._closed:
            return
        self._inspection = self._reactor.call_later(INTERVAL_S, self._inspect)
        by_pid = {
            self._links[member.slot].peer.pid: member
            for member in self._group.unresolved
            if member.slot in self._links
        }
        states = {pid: process_state(pid) for pid in by_pid}
        for pid in self._watch.look(states, self._reactor.now()):
            member = by_pid[pid]
            self._perform(self._group.stalled(member.slot, member.inc, "stopped by a signal"))


def _no_operation(member: Member) -> Body:
    raise AssertionError(member)


def _ignore(heard: Outcome | Body) -> None:
    del heard
