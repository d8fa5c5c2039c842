"""A link in use: executes a session's effects on its loop, and takes commands from any thread."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec

from transports import codec
from transports.calls import Deliver, Discard
from transports.effects import Asked, Down, Effects, Lacking, Noted, Revoked, Send, Suspect, Up
from transports.encoded_body import EncodedBody
from transports.envelope import Kind
from transports.errors import Backpressure, LinkDown
from transports.failures import FailureCode
from transports.fence import DropReason
from transports.incoming import Incoming
from transports.link import Identity, IncomingRequest, LinkHandler, LinkState, Lost, OnCallEvent
from transports.loop import Cancellable, Loop, Port
from transports.outbox import Commands, Outbox
from transports.schemas import Body
from transports.schemas.generate import Chunks, TextDelta
from transports.schemas.link import Failure
from transports.session import Session
from transports.text_run import join_runs

MAX_INCOMING = 4096
_CHUNK = Kind.CHUNK
_encode_body = codec.encode_body
_log = logging.getLogger("cortex.transports")


@final
class OutgoingCall(msgspec.Struct, eq=False):
    """A question in flight. ``seq`` is 0 until the loop's thread has sent it."""

    _channel: Channel
    seq: int = 0

    def cancel(self, reason: str = "") -> None:
        """Tell the peer that the answer is no longer wanted; idempotent. Any thread."""
        self._channel.revoke(self, reason)


@final
class Channel:
    """Implements ``transports.link.Link``; ``on_closed`` runs once, before the handler's."""

    def __init__(
        self,
        loop: Loop,
        session: Session,
        port: Port,
        handler: LinkHandler,
        on_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._now = loop.now
        self._session = session
        self._handler = handler
        self._on_request = handler.on_request
        self._on_closed = on_closed
        self._incoming: dict[int, Incoming] = {}
        self._commands = Commands(loop, self._only_sends)
        self._outbox = Outbox(loop, port, self.lost)
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
        body: Body | EncodedBody,
        on_event: OnCallEvent,
        *,
        deadline_s: float,
        trace: int = 0,
        raw: Sequence[bytes] = (),
    ) -> OutgoingCall:
        """Ask; see ``transports.link.Link``."""
        if not self._session.is_up or self._outbox.waiting or self._commands.waiting:
            self._require_room()
        payload = _encode_body(body, raw)
        call = OutgoingCall(self)
        deadline = self._now() + deadline_s
        self._commands.run(self._request, call, on_event, payload, raw, deadline, deadline_s, trace)
        return call

    def note(self, body: Body, *, trace: int = 0, raw: Sequence[bytes] = ()) -> None:
        """Send a one-way NOTE (DRAIN and DRAINED bodies have kinds of their own)."""
        self._require_room()
        payload = _encode_body(body, raw)
        self._commands.run(self._send, self._session.note, type(body), payload, raw, trace)

    def publish(self, pieces: Sequence[tuple[IncomingRequest, TextDelta]]) -> None:
        """Send one CHUNK message for all ``pieces``; those of other links are left out."""
        self._require_room()
        waiting: dict[Incoming, list[TextDelta]] = {}
        for request, delta in pieces:
            if (
                isinstance(request, Incoming)
                and request.link is self
                and request.seq in self._incoming
            ):
                waiting.setdefault(request, []).append(delta)
        items = tuple(
            request.next_item(delta)
            for request, deltas in waiting.items()
            for delta in join_runs(deltas)
        )
        if items:
            payload = _encode_body(Chunks(items))
            self._commands.run(self._send, self._session.reply, Kind.CHUNK, 0, payload)

    def close(self, reason: str, detail: str = "") -> None:
        """Say GOODBYE and go DOWN; idempotent."""
        self._commands.run_there(self._close, reason, detail)

    def revoke(self, call: OutgoingCall, reason: str) -> None:
        """Cancel ``call``; use its own method."""
        self._commands.run(self._revoke, call, reason)

    def answer(
        self, corr: int, kind: Kind, payload: bytes, raw: Sequence[bytes], flags: int
    ) -> None:
        """Answer the incoming request ``corr``; use the request's own methods."""
        self._commands.run(self._answer, corr, kind, payload, raw, flags)

    def _require_room(self) -> None:
        if not self._session.is_up:
            raise LinkDown(f"{self!r} is not up")
        if self._outbox.is_full or self._commands.is_full:
            raise Backpressure(f"{self!r} is full")

    def _only_sends(self) -> bool:
        """Whether no command but ``_close`` can call a user back now: the way out is free."""
        return self._session.is_up and not self._outbox.waiting

    # -- commands, by whoever has the loop's turn -----------------------------------------------

    def _request(
        self,
        call: OutgoingCall,
        on_event: OnCallEvent,
        payload: bytes,
        raw: Sequence[bytes],
        deadline: float,
        budget_s: float,
        trace: int,
    ) -> None:
        try:
            call.seq, frames = self._session.request(
                on_event, payload, raw, deadline, budget_s, trace
            )
        except LinkDown as ex:
            self._guard(on_event, Lost("link_down", str(ex)))
            return
        self._outbox.send(frames)
        if deadline < self._expiry_at:
            self._watch_deadlines()

    def _send(self, frame: Callable[..., list[bytes]], *args: Any) -> None:
        try:
            frames = frame(*args)
        except LinkDown:
            self._drop(DropReason.AFTER_CLOSE)
            return
        self._outbox.send(frames)

    def _answer(
        self, corr: int, kind: Kind, payload: bytes, raw: Sequence[bytes], flags: int
    ) -> None:
        if corr in self._incoming:
            if kind is not _CHUNK:
                del self._incoming[corr]
            try:
                frames = self._session.reply(kind, corr, payload, raw, flags)
            except LinkDown:
                self._drop(DropReason.AFTER_CLOSE)
            else:
                self._outbox.send(frames)
        elif self._session.is_up:
            self._drop(DropReason.DUPLICATE)
        else:
            self._drop(DropReason.AFTER_CLOSE)

    def _revoke(self, call: OutgoingCall, reason: str) -> None:
        self._execute(self._session.cancel(call.seq, reason))

    def _close(self, reason: str, detail: str) -> None:
        self._execute(self._session.close(reason, detail))

    # -- what the transport tells, on the loop's thread -----------------------------------------

    def received(self, frames: Sequence[bytes]) -> None:
        """Take one message of the peer."""
        self._execute(self._session.received(frames, self._now()))

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
        self._close("handshake_timeout", "no handshake in time")

    # -- effects --------------------------------------------------------------------------------

    def _execute(self, effects: Effects) -> None:
        if len(effects) > 1:
            # PROTOCOL: sequence numbers are given out already, and a callback may send more.
            effects = tuple(sorted(effects, key=_not_a_send))
        for effect in effects:
            _DO[type(effect)](self, effect)

    def _transmit(self, effect: Send) -> None:
        self._outbox.send(effect.frames)

    def _deliver(self, effect: Deliver[OnCallEvent]) -> None:
        try:
            effect.owner(effect.event)
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            self._log_failure()

    def _asked(self, effect: Asked) -> None:
        request = Incoming(self, effect)
        incoming = self._incoming
        incoming[effect.seq] = request
        if len(incoming) > MAX_INCOMING:
            request.fail(Failure(FailureCode.OVERLOADED, "too many open requests on this link"))
            return
        try:
            self._on_request(request)
        except Exception:  # noqa: BLE001 -- its asker hears of it
            _log.exception("handler_failed link=%r", self)
            request.fail(Failure(FailureCode.INTERNAL, "the request handler failed"))

    def _noted(self, effect: Noted) -> None:
        self._guard(self._handler.on_note, self, effect.body, effect.raw)

    def _revoked(self, effect: Revoked) -> None:
        request = self._incoming.get(effect.seq)
        if request is not None:
            self._guard(request.cancel, effect.reason)

    def _discard(self, effect: Discard) -> None:
        self._drop(effect.reason)

    def _lacking(self, effect: Lacking) -> None:
        self._loop.counters.lost += effect.count
        _log.warning("messages_lost link=%r count=%s", self, effect.count)

    def _suspect(self, _: Suspect) -> None:
        self._guard(self._handler.on_suspect, self)

    def _up(self, _: Up) -> None:
        self._cancel_timers()
        self._ticker = self._loop.call_later(self._session.policy.tick_s, self._tick)
        self._guard(self._handler.on_up, self)

    def _down(self, effect: Down) -> None:
        self._cancel_timers()
        self._outbox.close()
        self._on_closed()
        incoming, self._incoming = self._incoming, {}
        for request in incoming.values():
            self._guard(request.cancel, "link_down")
        # Who tries until the other side listens need not say so each time.
        level = logging.INFO if self._session.peer is not None else logging.DEBUG
        _log.log(level, "link_down link=%r reason=%s detail=%s", self, effect.reason, effect.detail)
        self._guard(self._handler.on_down, self, effect.reason, effect.detail)

    def _drop(self, reason: DropReason) -> None:
        first = self._loop.counters.count(reason, self._now())
        level = logging.WARNING if first else logging.DEBUG
        _log.log(level, "message_dropped link=%r reason=%s", self, reason)

    def _guard(self, fn: Callable[..., None], *args: Any) -> None:
        try:
            fn(*args)
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            self._log_failure()

    def _log_failure(self) -> None:
        _log.exception("handler_failed link=%r", self)
        self._loop.callback_failed()

    # -- time -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(self._session.policy.tick_s, self._tick)
        self._execute(self._session.tick(self._now()))

    def _watch_deadlines(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry_at = self._session.next_deadline()
        if self._expiry_at != math.inf:
            delay_s = max(0.0, self._expiry_at - self._now())
            self._expiry = self._loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._execute(self._session.expire(self._now()))
        self._watch_deadlines()

    def _cancel_timers(self) -> None:
        for timer in (self._ticker, self._expiry):
            if timer is not None:
                timer.cancel()


def _not_a_send(effect: object) -> bool:
    return type(effect) is not Send


_DO: dict[type, Callable[..., None]] = {
    Send: Channel._transmit,
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
