"""A link in use: executes a session's effects on its loop and takes commands from any thread.

Commands of other threads wait in a bounded queue, in order, for the loop's thread. Frames that the
transport has no room for wait in a bounded outbox, in order; while one waits, the link is full.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import final

from transports import codec
from transports.calls import Deliver, Discard
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
from transports.envelope import Kind
from transports.errors import Backpressure, LinkDown
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.incoming import Incoming
from transports.link import IncomingRequest, Identity, LinkHandler, LinkState, Lost, OnCallEvent
from transports.loop import Cancellable, Loop, Port
from transports.schemas import Body
from transports.schemas.generate import Chunks, TextDelta
from transports.schemas.link import Failure
from transports.session import Session

QUEUE = 1024
MAX_INCOMING = 4096
_OUTBOX = 4096
_RETRY_S = 0.002
_log = logging.getLogger("cortex.transports")


@final
class OutgoingCall:
    """A question in flight. ``seq`` is 0 until the loop's thread has sent it."""

    __slots__ = ("_channel", "seq")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.seq = 0

    def cancel(self, reason: str = "") -> None:
        """Tell the peer that the answer is no longer wanted; idempotent. Any thread."""
        self._channel.revoke(self, reason)


@final
class Channel:
    """Implements ``transports.link.Link``."""

    def __init__(
        self,
        loop: Loop,
        session: Session,
        port: Port,
        handler: LinkHandler,
        on_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._session = session
        self._port = port
        self._handler = handler
        self._on_closed = on_closed
        self._incoming: dict[int, Incoming] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._commands_due = False
        self._outbox: deque[list[bytes]] = deque()
        self._ticker: Cancellable | None = None
        self._expiry: Cancellable | None = None
        self._expiry_at = math.inf

    @property
    def peer(self) -> Identity:
        """Who is at the other end.

        Raises:
            LinkDown: There has not been a handshake.
        """
        peer = self._session.peer
        if peer is None:
            raise LinkDown("the peer is not known before the handshake")
        return peer

    @property
    def state(self) -> LinkState:
        """The current state; DOWN is final."""
        return self._session.state

    def __repr__(self) -> str:
        peer = self._session.peer
        name = "?" if peer is None else f"{peer.role}/{peer.name} slot={peer.slot} inc={peer.inc}"
        return f"<Link {self._session.me.name} to {name} {self.state.value}>"

    # -- commands, from any thread --------------------------------------------------------------

    def request(
        self,
        body: Body,
        on_event: OnCallEvent,
        *,
        deadline_s: float,
        trace: int = 0,
        raw: Sequence[bytes] = (),
    ) -> OutgoingCall:
        """Ask; see ``transports.link.Link``."""
        self._require_room()
        payload = codec.encode_body(body, raw)
        call = OutgoingCall(self)
        deadline = self._loop.now() + deadline_s
        self._run(partial(self._request, call, on_event, payload, raw, deadline, trace))
        return call

    def note(self, body: Body, *, trace: int = 0, raw: Sequence[bytes] = ()) -> None:
        """Send a one-way NOTE (DRAIN and DRAINED bodies have kinds of their own)."""
        self._require_room()
        self._run(partial(self._note, type(body), codec.encode_body(body, raw), raw, trace))

    def publish(self, pieces: Sequence[tuple[IncomingRequest, TextDelta]]) -> None:
        """Send one CHUNK message for all ``pieces``; those of other links are left out."""
        self._require_room()
        items = tuple(
            request.next_item(payload)
            for request, payload in pieces
            if isinstance(request, Incoming)
            and request.link is self
            and request.seq in self._incoming
        )
        if items:
            self._run(partial(self._publish, codec.encode_body(Chunks(items))))

    def close(self, reason: str, detail: str = "") -> None:
        """Say GOODBYE and go DOWN; idempotent."""
        self._run(lambda: self._execute(self._session.close(reason, detail)))

    def revoke(self, call: OutgoingCall, reason: str) -> None:
        """Cancel ``call``; use its own method."""
        self._run(lambda: self._execute(self._session.cancel(call.seq, reason)))

    def answer(
        self, corr: int, kind: Kind, payload: bytes, raw: Sequence[bytes], flags: int
    ) -> None:
        """Answer the incoming request ``corr``; use the request's own methods."""
        self._run(partial(self._answer, corr, kind, payload, raw, flags))

    def _require_room(self) -> None:
        if self._session.state not in _LIVE:
            raise LinkDown(f"{self!r} is not up")
        if self._outbox or len(self._commands) >= QUEUE:
            raise Backpressure(f"{self!r} is full")

    def _run(self, command: Callable[[], None]) -> None:
        if self._loop.on_thread():
            if self._commands:
                self._run_commands()
            command()
            return
        self._commands.append(command)
        if not self._commands_due:
            self._commands_due = True
            self._loop.call_soon(self._run_commands)

    def _run_commands(self) -> None:
        # SAFETY: cleared before the queue is emptied, so that a command appended from now on either is
        # run here or schedules another run.
        self._commands_due = False
        while self._commands:
            self._commands.popleft()()

    # -- commands, on the loop's thread ---------------------------------------------------------

    def _request(
        self,
        call: OutgoingCall,
        on_event: OnCallEvent,
        payload: bytes,
        raw: Sequence[bytes],
        deadline: float,
        trace: int,
    ) -> None:
        now = self._loop.now()
        try:
            call.seq, send = self._session.request(on_event, payload, raw, deadline, now, trace)
        except LinkDown as ex:
            self._guard(on_event, Lost("link_down", str(ex)))
            return
        self._transmit(send.frames)
        if deadline < self._expiry_at:
            self._watch_deadlines(now)

    def _note(
        self, body_type: type[Body], payload: bytes, raw: Sequence[bytes], trace: int
    ) -> None:
        try:
            send = self._session.note(body_type, payload, raw, trace)
        except LinkDown:
            self._drop(DropReason.AFTER_CLOSE)
            return
        self._transmit(send.frames)

    def _publish(self, payload: bytes) -> None:
        try:
            send = self._session.reply(Kind.CHUNK, 0, payload)
        except LinkDown:
            self._drop(DropReason.AFTER_CLOSE)
            return
        self._transmit(send.frames)

    def _answer(
        self, corr: int, kind: Kind, payload: bytes, raw: Sequence[bytes], flags: int
    ) -> None:
        if self._session.state is LinkState.DOWN:
            self._drop(DropReason.AFTER_CLOSE)
            return
        if corr not in self._incoming:
            self._drop(DropReason.DUPLICATE)
            return
        if kind is not Kind.CHUNK:
            del self._incoming[corr]
        self._transmit(self._session.reply(kind, corr, payload, raw, flags).frames)

    # -- what the transport tells, on the loop's thread -----------------------------------------

    def received(self, frames: Sequence[bytes]) -> None:
        """Take one message of the peer."""
        self._execute(self._session.received(frames, self._loop.now()))

    def begin(self, effects: Effects, handshake_s: float) -> None:
        """Send the first message of the handshake, which must end within ``handshake_s``."""
        self._ticker = self._loop.call_later(handshake_s, self._give_up)
        self._execute(effects)

    def greet(self) -> None:
        """The connection stands: say HELLO."""
        self._execute(self._session.hello())

    def doubt(self) -> None:
        """Something may have happened to the peer: find out now."""
        self._execute(self._session.doubt())

    def lost(self, reason: str, detail: str = "") -> None:
        """The connection is gone."""
        self._execute(self._session.lost(reason, detail))

    def _give_up(self) -> None:
        self._execute(self._session.close("handshake_timeout", "no handshake in time"))

    # -- effects --------------------------------------------------------------------------------

    def _execute(self, effects: Effects) -> None:
        if len(effects) > 1:
            # PROTOCOL: sequence numbers are given out already, and a callback may send more.
            for effect in effects:
                if type(effect) is Send:
                    self._transmit(effect.frames)
        elif effects and type(effects[0]) is Send:
            self._transmit(effects[0].frames)
        for effect in effects:
            _DO[type(effect)](self, effect)

    def _transmit(self, frames: list[bytes]) -> None:
        try:
            if not self._outbox and self._port.send(frames):
                return
        except LinkDown as ex:
            self.lost("unreachable", str(ex))
            return
        if not self._outbox:
            self._loop.call_later(_RETRY_S, self._retry)
        self._outbox.append(frames)
        if len(self._outbox) > _OUTBOX:
            self.lost("overrun", f"{_OUTBOX} messages wait for a peer that does not read")

    def _retry(self) -> None:
        try:
            while self._outbox and self._port.send(self._outbox[0]):
                self._outbox.popleft()
        except LinkDown as ex:
            self.lost("unreachable", str(ex))
        if self._outbox:
            self._loop.call_later(_RETRY_S, self._retry)

    def _do_nothing(self, _: Effect) -> None:
        pass

    def _deliver(self, effect: Deliver[OnCallEvent]) -> None:
        self._guard(effect.owner, effect.event)

    def _asked(self, effect: Asked) -> None:
        request = Incoming(self, effect)
        self._incoming[effect.seq] = request
        if len(self._incoming) > MAX_INCOMING:
            request.fail(Failure(FailureCode.OVERLOADED, "too many open requests on this link"))
        elif not self._guard(self._handler.on_request, request):
            request.fail(Failure(FailureCode.INTERNAL, "the request handler failed"))

    def _noted(self, effect: Noted) -> None:
        self._guard(self._handler.on_note, self, effect.body, effect.raw)

    def _revoked(self, effect: Revoked) -> None:
        request = self._incoming.get(effect.seq)
        if request is not None:
            self._cancelled(request, effect.reason)

    def _cancelled(self, request: Incoming, reason: str) -> None:
        callback = request.cancelled(reason)
        if callback is not None:
            self._guard(callback, reason)

    def _discard(self, effect: Discard) -> None:
        self._drop(effect.reason)

    def _lacking(self, effect: Lacking) -> None:
        self._loop.counters.lost += effect.count
        _log.warning("messages_lost link=%r count=%s", self, effect.count)

    def _suspect(self, _: Suspect) -> None:
        self._guard(self._handler.on_suspect, self)

    def _up(self, _: Up) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        self._ticker = self._loop.call_later(self._session.policy.tick_s, self._tick)
        self._guard(self._handler.on_up, self)

    def _down(self, effect: Down) -> None:
        for timer in (self._ticker, self._expiry):
            if timer is not None:
                timer.cancel()
        self._outbox.clear()
        self._port.close()
        self._on_closed()
        incoming, self._incoming = self._incoming, {}
        for request in incoming.values():
            self._cancelled(request, "link_down")
        _log.info("link_down link=%r reason=%s detail=%s", self, effect.reason, effect.detail)
        self._guard(self._handler.on_down, self, effect.reason, effect.detail)

    def _drop(self, reason: DropReason) -> None:
        first = self._loop.counters.count(reason, self._loop.now())
        level = logging.WARNING if first else logging.DEBUG
        _log.log(level, "message_dropped link=%r reason=%s", self, reason)

    def _guard(self, fn: Callable[..., None], *args: object) -> bool:
        try:
            fn(*args)
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            _log.exception("handler_failed link=%r", self)
            return False
        return True

    # -- time -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._session.state is LinkState.DOWN:
            return
        self._ticker = self._loop.call_later(self._session.policy.tick_s, self._tick)
        self._execute(self._session.tick(self._loop.now()))

    def _watch_deadlines(self, now: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._expiry_at = self._session.next_deadline()
        if self._expiry_at != math.inf:
            self._expiry = self._loop.call_later(max(0.0, self._expiry_at - now), self._expire)

    def _expire(self) -> None:
        now = self._loop.now()
        self._execute(self._session.expire(now))
        if self._session.state is not LinkState.DOWN:
            self._watch_deadlines(self._loop.now())


_LIVE = frozenset({LinkState.UP, LinkState.SUSPECT})
_DO: dict[type, Callable[..., None]] = {
    Send: Channel._do_nothing,
    Deliver: Channel._deliver,
    Asked: Channel._asked,
    Noted: Channel._noted,
    Revoked: Channel._revoked,
    Discard: Channel._discard,
    Lacking: Channel._lacking,
    Suspect: Channel._suspect,
    Up: Channel._up,
    Down: Channel._down,
}
