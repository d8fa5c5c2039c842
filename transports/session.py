"""One end of one connection, from handshake to the end, whatever carries the frames (pure).

Frames and commands go in with the time they happen at, effects come out. A session lives once:
after ``Down`` it accepts nothing. Handshake: HELLO (connecting end), WELCOME (listening end), READY
(connecting end); the connecting end is up on WELCOME, the listening end on READY.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, final

from transports import codec
from transports.calls import CallTable, Discard, Revoke
from transports.effects import (
    Asked,
    Down,
    Effect,
    Effects,
    Lacking,
    Noted,
    Revoked,
    Send,
    Suspect,
    Up,
)
from transports.envelope import VERSION, Header, Kind
from transports.errors import LinkDown, ProtocolError
from transports.fence import (
    NOT_THE_PEER,
    VIOLATIONS,
    DropReason,
    Expectation,
    judge,
    judge_corr,
)
from transports.framing import Framer
from transports.link import Completed, Failed, Identity, LinkState, OnCallEvent, Progress
from transports.liveness import Liveness, LivenessPolicy, Sign
from transports.schemas import Body
from transports.schemas.generate import Chunks
from transports.schemas.link import Cancel, Drain, Drained, Goodbye, Hello, Ping, Pong, Welcome
from transports.sequence import Arrivals

_U64 = (1 << 64) - 1
_NEVER = math.inf
_LAST = 1
# PERF: a member of an enum class is looked up ten times as slowly as a global name.
_CONNECTING, _UP, _SUSPECT = LinkState.CONNECTING, LinkState.UP, LinkState.SUSPECT
_REQUEST, _CHUNK, _GOODBYE = Kind.REQUEST, Kind.CHUNK, Kind.GOODBYE
# PERF: a global name takes half the time of a module's attribute.
_decode_header, _decode_body = codec.decode_header, codec.decode_body
_NOTE_KINDS: dict[type[Body], Kind] = {Drain: Kind.DRAIN, Drained: Kind.DRAINED}


@final
class Session:
    """The rules of one connection. ``peer`` is known on the listening end, which read the HELLO."""

    def __init__(
        self, me: Identity, policy: LivenessPolicy, now: float, peer: Identity | None = None
    ) -> None:
        self.me = me
        self.peer = peer
        self.state = LinkState.CONNECTING
        self.is_up = False
        """Whether requests may be sent."""
        self.policy = policy
        self._inc = me.inc if peer is None else peer.inc
        self._calls: CallTable[OnCallEvent] = CallTable()
        self._framer = Framer(me.slot, self._inc)
        self._arrivals = Arrivals()
        self._liveness = Liveness(policy, now)
        self._pings = 0
        self._expects = Expectation(
            src=None if peer is None else peer.slot,
            inc=self._inc,
            awaiting=self._calls.awaiting,
            answered=self._calls.answered,
        )

    # -- handshake ------------------------------------------------------------------------------

    def hello(self) -> Effects:
        """Connecting end: say who we are."""
        me = self.me
        body = Hello(me.boot, me.slot, me.inc, me.pid, me.role, me.name, VERSION, VERSION)
        return (self._framer.control(Kind.HELLO, body),)

    def welcome(self, hello_seq: int) -> Effects:
        """Listening end: consent to the HELLO that this session was made for."""
        self._arrivals.admit(hello_seq)
        body = Welcome(self.me.boot, self.me.name, VERSION)
        return (self._framer.control(Kind.WELCOME, body),)

    # -- what the peer sends --------------------------------------------------------------------

    def received(self, frames: Sequence[bytes], now: float) -> Effects:
        """Take one message. Never raises, whatever the bytes."""
        try:
            header = _decode_header(frames)
        except ProtocolError as ex:
            return (Discard(DropReason(ex.reason)),)
        self._expects.sent = self._framer.last
        refusal = judge(header, self._expects)
        lost: int | None = 0
        if refusal is None or refusal not in NOT_THE_PEER:
            # PROTOCOL: a GOODBYE may come from someone who has lost count of us, or never had it.
            if header.kind is not _GOODBYE:
                lost = self._arrivals.admit(header.seq)
            self._liveness.heard(now)
            if self.state is _SUSPECT:
                self.state = _UP
        if lost is None:
            return (Discard(DropReason.DUPLICATE),)
        # PROTOCOL: what is sent first must be framed first, or the peer takes the second for lost.
        lacking = self._lacking(lost) if lost else ()
        effects = self._refused(refusal, header) if refusal else self._accept(header, frames, now)
        return (*lacking, *effects) if lacking else effects

    def _accept(self, header: Header, frames: Sequence[bytes], now: float) -> Effects:
        kind = header.kind
        try:
            body = _decode_body(kind, frames[1])
        except ProtocolError:
            return (Discard(DropReason.MALFORMED),)
        if self.state is _CONNECTING and kind not in _BEFORE_UP:
            return (Discard(DropReason.MALFORMED),)
        raw = () if len(frames) == 2 else tuple(frames[2:])
        return _ON[kind](self, (header, body, raw, now))

    def _refused(self, reason: DropReason, header: Header) -> Effects:
        if reason in VIOLATIONS:
            return (Discard(reason), *self.close("protocol", f"{reason}: {header.kind.name}"))
        return (Discard(reason),)

    def _lacking(self, lost: int) -> Effects:
        if self.state is not LinkState.UP:
            return (Lacking(lost),)
        self._enter(LinkState.SUSPECT)
        return (self._ping(), Lacking(lost), Suspect())

    def _on_hello(self, _: _Arrival) -> Effects:
        return (Discard(DropReason.DUPLICATE), *self.close("protocol", "second HELLO"))

    def _on_welcome(self, arrival: _Arrival) -> Effects:
        header, body, _, _ = arrival
        if self.peer is not None:
            return (Discard(DropReason.MALFORMED),)
        if body.protocol != VERSION:
            return self.close("version", f"peer chose {body.protocol}, we speak {VERSION}")
        self._expects.src = header.src
        self.peer = Identity(body.boot, header.src, self._inc, 0, "", body.name)
        self._enter(LinkState.UP)
        return (Send(self._framer.frames(Kind.READY, b"")), Up(self.peer))

    def _on_ready(self, _: _Arrival) -> Effects:
        if self.peer is None or self.state is not LinkState.CONNECTING:
            return (Discard(DropReason.MALFORMED),)
        self._enter(LinkState.UP)
        return (Up(self.peer),)

    def _on_request(self, arrival: _Arrival) -> Effects:
        header, body, raw, now = arrival
        deadline = now + header.budget_us / 1e6 if header.budget_us else None
        return (Asked(header.seq, body, raw, deadline, header.trace),)

    def _on_result(self, arrival: _Arrival) -> Effects:
        header, body, raw, _ = arrival
        return self._calls.settle(header.corr, Completed(body, raw))

    def _on_error(self, arrival: _Arrival) -> Effects:
        return self._calls.settle(arrival[0].corr, Failed(arrival[1]))

    def _on_chunk(self, arrival: _Arrival) -> Effects:
        header, body, _, _ = arrival
        if not isinstance(body, Chunks):
            if not header.corr:
                return (Discard(DropReason.MALFORMED),)
            return self._calls.interim(header.corr, Progress(body))
        effects: list[Effect] = []
        for corr, items in groupby(body.items, _corr_of):
            refusal = judge_corr(corr, self._expects)
            if refusal is None:
                effects.extend(map(self._sent, self._calls.chunks(corr, tuple(items))))
                continue
            for _ in items:
                effects.extend(self._refused(refusal, header))
            if refusal in VIOLATIONS:
                break
        return tuple(effects)

    def _on_cancel(self, arrival: _Arrival) -> Effects:
        return (Revoked(arrival[0].corr, arrival[1].reason),)

    def _on_ping(self, arrival: _Arrival) -> Effects:
        return (self._framer.control(Kind.PONG, Pong(arrival[1].nonce)),)

    def _on_pong(self, _: _Arrival) -> Effects:
        return ()

    def _on_note(self, arrival: _Arrival) -> Effects:
        return (Noted(arrival[1], arrival[2]),)

    def _on_goodbye(self, arrival: _Arrival) -> Effects:
        return self.lost(arrival[1].reason, arrival[1].detail)

    # -- what we send ---------------------------------------------------------------------------

    def request(
        self,
        owner: OnCallEvent,
        payload: bytes,
        raw: Sequence[bytes],
        deadline: float,
        budget_s: float,
        trace: int,
    ) -> tuple[int, list[bytes]]:
        """Ask; return the call's number and the frames.

        ``deadline`` is on our clock, ``budget_s`` is what the peer is told; infinity is none.

        Raises:
            LinkDown: The session is not up.
        """
        if not self.is_up:
            raise self._not_up()
        budget_us = 0
        if budget_s != _NEVER:
            budget_us = int(budget_s * 1e6)
            if not 0 < budget_us <= _U64:
                budget_us = _U64 if budget_us > 0 else 1
        framer = self._framer
        frames = framer.frames(_REQUEST, payload, raw, 0, 0, budget_us, trace & _U64)
        seq = framer.last
        self._calls.open(seq, owner, deadline)
        return seq, frames

    def note(
        self, body_type: type[Body], payload: bytes, raw: Sequence[bytes], trace: int
    ) -> list[bytes]:
        """Say something that has no answer. Raises like ``request``."""
        if not self.is_up:
            raise self._not_up()
        kind = _NOTE_KINDS.get(body_type, Kind.NOTE)
        return self._framer.frames(kind, payload, raw, trace=trace & _U64)

    def reply(
        self, kind: Kind, corr: int, payload: bytes, raw: Sequence[bytes] = (), flags: int = 0
    ) -> list[bytes]:
        """Answer the peer's request ``corr``, or stream to it. Raises like ``request``."""
        if not self.is_up:
            raise self._not_up()
        if kind is not _CHUNK:
            flags |= _LAST
        return self._framer.frames(kind, payload, raw, flags, corr)

    def cancel(self, seq: int, reason: str) -> Effects:
        """Tell the peer, once, that we no longer want the answer to ``seq``."""
        return tuple(self._sent(effect) for effect in self._calls.cancel(seq, reason))

    # -- time and the end -----------------------------------------------------------------------

    def next_deadline(self) -> float:
        """Return when ``expire`` is due at the earliest."""
        return self._calls.next_deadline()

    def expire(self, now: float) -> Effects:
        """End the calls whose deadline has passed."""
        return tuple(self._sent(effect) for effect in self._calls.expire(now))

    def tick(self, now: float) -> Effects:
        """Judge the peer's silence; to be called every ``policy.tick_s`` while up."""
        effects: list[Effect] = []
        for sign in self._liveness.tick(now, busy=len(self._calls) > 0):
            if sign is Sign.DOWN:
                return self.close("silent", f"nothing heard for {self.policy.down_s} s")
            if sign is Sign.SUSPECT:
                self._enter(LinkState.SUSPECT)
                effects.append(Suspect())
            else:
                effects.append(self._ping())
        return tuple(effects)

    def doubt(self) -> Effects:
        """Something may have happened to the peer: ask at once."""
        return (self._ping(),) if self.is_up else ()

    def close(self, reason: str, detail: str = "") -> Effects:
        """Say GOODBYE and end."""
        if self.state is LinkState.DOWN:
            return ()
        goodbye = self._framer.control(Kind.GOODBYE, Goodbye(reason, detail))
        return (goodbye, *self.lost(reason, detail))

    def lost(self, reason: str, detail: str = "") -> Effects:
        """End without a word: the peer is gone."""
        if self.state is LinkState.DOWN:
            return ()
        self._enter(LinkState.DOWN)
        self._expects.closed = True
        story = f"{reason}: {detail}" if detail else reason
        return (*self._calls.fail_all("link_down", story), Down(reason, detail))

    def _enter(self, state: LinkState) -> None:
        self.state = state
        self.is_up = state in (LinkState.UP, LinkState.SUSPECT)

    def _not_up(self) -> LinkDown:
        return LinkDown(f"link is {self.state.value}")

    def _ping(self) -> Send:
        self._pings += 1
        return self._framer.control(Kind.PING, Ping(self._pings))

    def _sent(self, effect: Effect | Revoke) -> Effect:
        if isinstance(effect, Revoke):
            return self._framer.control(Kind.CANCEL, Cancel(effect.reason), effect.seq)
        return effect


_corr_of = attrgetter("corr")

#: Header, body (of the type that the codec has checked for the kind), raw frames, time.
_Arrival = tuple[Header, Any, tuple[bytes, ...], float]
_BEFORE_UP = (Kind.HELLO, Kind.WELCOME, Kind.READY, Kind.GOODBYE)
# PERF: indexed by kind, because hashing an enum member is a Python-level call.
_ON: tuple[Callable[[Session, _Arrival], Effects], ...] = (
    Session._on_pong,  # no kind is 0
    Session._on_hello,
    Session._on_welcome,
    Session._on_ready,
    Session._on_request,
    Session._on_result,
    Session._on_error,
    Session._on_chunk,
    Session._on_cancel,
    Session._on_ping,
    Session._on_pong,
    Session._on_note,
    Session._on_note,
    Session._on_goodbye,
    Session._on_note,
)
