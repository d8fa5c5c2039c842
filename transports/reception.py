"""Who may talk to a listener: binds peers that say a proper HELLO and turns away the others.

Loop thread only, whatever carries the frames.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import final

from transports import codec
from transports.channel import Channel
from transports.envelope import VERSION, Header, Kind
from transports.errors import LinkDown, ProtocolError
from transports.fence import DropReason, judge_hello
from transports.framing import Framer
from transports.identity import Route
from transports.link import Identity, LinkHandler
from transports.liveness import LivenessPolicy
from transports.loop import Loop, Port
from transports.schemas.link import Goodbye, Hello
from transports.session import Session

#: Look at a HELLO; return a word to refuse it, None to let the peer in.
Admit = Callable[[Hello], str | None]

HANDSHAKE_S = 5.0
_MEMORY = 4096
_log = logging.getLogger("cortex.transports")


def admit_all(_: Hello) -> str | None:
    """Let everybody in who can connect."""
    return None


@final
class Reception:
    """The links of one listener, by routing id. A routing id is bound once and never again."""

    def __init__(
        self,
        loop: Loop,
        me: Identity,
        handler: LinkHandler,
        admit: Admit,
        policy: LivenessPolicy,
        port_to: Callable[[bytes], Port],
    ) -> None:
        self._loop = loop
        self._me = me
        self._handler = handler
        self._admit = admit
        self._policy = policy
        self._port_to = port_to
        self._channels: dict[bytes, Channel] = {}
        self._retired: OrderedDict[bytes, None] = OrderedDict()

    def received(self, routing_id: bytes, frames: Sequence[bytes], user: str | None = None) -> None:
        """Take a message; ``user`` is whom the transport has authenticated, if it does."""
        channel = self._channels.get(routing_id)
        if channel is not None:
            channel.received(frames)
        else:
            self._on_stranger(routing_id, frames, user)

    def lost(self, routing_id: bytes, reason: str) -> None:
        """The connection of this peer is gone."""
        channel = self._channels.get(routing_id)
        if channel is not None:
            channel.lost(reason)

    def probe(self) -> None:
        """Ask every peer for a sign of life; those that are gone cannot be sent to."""
        for channel in list(self._channels.values()):
            channel.doubt()

    def close(self) -> None:
        """Say GOODBYE on every link."""
        for channel in list(self._channels.values()):
            channel.close("listener_closed")

    def _on_stranger(self, routing_id: bytes, frames: Sequence[bytes], user: str | None) -> None:
        try:
            header = codec.decode_header(frames)
        except ProtocolError as ex:
            self._drop(DropReason(ex.reason), routing_id)
            self._say_goodbye(routing_id, 0, ex.reason, ex.detail)
            return
        if header.kind is Kind.GOODBYE:
            return
        if header.kind is not Kind.HELLO:
            known = routing_id in self._retired
            self._drop(DropReason.AFTER_CLOSE if known else DropReason.UNKNOWN_SOURCE, routing_id)
            self._say_goodbye(routing_id, header.inc, "unknown", "say HELLO on a new connection")
            return
        refusal = self._greet(routing_id, header, frames[1], user)
        if refusal is not None:
            _log.warning(
                "hello_refused listener=%s peer=%r why=%s", self._me.name, routing_id, refusal
            )
            self._say_goodbye(routing_id, header.inc, *refusal)

    def _greet(
        self, routing_id: bytes, header: Header, payload: bytes, user: str | None
    ) -> tuple[str, str] | None:
        """Bind a peer that says a proper HELLO; otherwise return why not."""
        try:
            hello = codec.decode_body(Kind.HELLO, payload)
        except ProtocolError as ex:
            self._drop(DropReason.MALFORMED, routing_id)
            return ex.reason, ex.detail
        assert isinstance(hello, Hello)  # noqa: S101 -- the codec has checked the kind's body
        fault = self._judge(routing_id, header, hello)
        if fault is not None:
            self._drop(fault, routing_id)
            return fault, "the HELLO does not belong to this connection"
        if user is not None and user != hello.name:
            return "wrong_name", f"this key belongs to {user}"
        if not hello.protocol_min <= VERSION <= hello.protocol_max:
            return "version", f"we speak {VERSION}"
        refusal = self._admission(hello)
        if refusal is not None:
            return refusal, ""
        self._bind(routing_id, header.seq, hello)
        return None

    def _judge(self, routing_id: bytes, header: Header, hello: Hello) -> DropReason | None:
        if routing_id in self._retired:
            return DropReason.STALE_INCARNATION
        route = Route.parse(routing_id)
        if route is None:
            return DropReason.UNKNOWN_SOURCE
        return judge_hello(header, hello, route)

    def _admission(self, hello: Hello) -> str | None:
        try:
            return self._admit(hello)
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            _log.exception("admit_failed listener=%s", self._me.name)
            return "internal"

    def _bind(self, routing_id: bytes, hello_seq: int, hello: Hello) -> None:
        peer = Identity(hello.boot, hello.slot, hello.inc, hello.pid, hello.role, hello.name)
        session = Session(self._me, self._policy, self._loop.now(), peer)
        port = self._port_to(routing_id)
        channel = Channel(
            self._loop, session, port, self._handler, lambda: self._retire(routing_id)
        )
        self._channels[routing_id] = channel
        channel.begin(session.welcome(hello_seq), HANDSHAKE_S)

    def _retire(self, routing_id: bytes) -> None:
        self._channels.pop(routing_id, None)
        self._retired[routing_id] = None
        if len(self._retired) > _MEMORY:
            self._retired.popitem(last=False)

    def _say_goodbye(self, routing_id: bytes, inc: int, reason: str, detail: str) -> None:
        goodbye = Framer(self._me.slot, inc).control(Kind.GOODBYE, Goodbye(reason, detail))
        try:
            self._port_to(routing_id).send(goodbye.frames)
        except LinkDown as ex:
            _log.debug("goodbye_not_sent peer=%r error=%s", routing_id, ex)

    def _drop(self, reason: DropReason, routing_id: bytes) -> None:
        first = self._loop.counters.count(reason, self._loop.now())
        level = logging.WARNING if first else logging.DEBUG
        _log.log(level, "message_dropped peer=%r reason=%s", routing_id, reason)
