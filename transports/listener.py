"""The listening end: a ROUTER socket and the links of everybody who said a proper HELLO.

Reactor thread only, except for ``endpoint`` and ``close``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import zmq

from transports import codec
from transports.channel import Channel
from transports.curve import CurveServer
from transports.endpoints import Endpoint, parse
from transports.envelope import VERSION, Header, Kind, pack
from transports.errors import EndpointError, LinkDown, ProtocolError
from transports.fence import DropReason, judge_hello
from transports.identity import Route
from transports.link import Identity, LinkHandler
from transports.liveness import LivenessPolicy
from transports.schemas.link import Goodbye, Hello
from transports.session import Session
from transports.zmq_link import (
    BATCH,
    LINGER_MS,
    close_monitored,
    monitor_events,
    set_options,
    set_server_keys,
)

if TYPE_CHECKING:
    from transports.reactor import Reactor

Admit = Callable[[Hello], str | None]

HANDSHAKE_S = 5.0
_PROBE_AGAIN_S = 0.05
_MEMORY = 4096
_log = logging.getLogger("cortex.transports")


def admit_all(_: Hello) -> str | None:
    """Let everybody in who can connect."""
    return None


@final
class _Port:
    """The way out to one peer of the ROUTER."""

    __slots__ = ("_routing_id", "_socket")

    def __init__(self, socket: zmq.Socket[bytes], routing_id: bytes) -> None:
        self._socket = socket
        self._routing_id = routing_id

    def send(self, frames: Sequence[bytes]) -> bool:
        try:
            self._socket.send_multipart([self._routing_id, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as ex:
            raise LinkDown(str(ex)) from ex
        return True

    def close(self) -> None:
        pass


@final
class Listener:
    """One address that peers connect to."""

    def __init__(
        self,
        reactor: Reactor,
        endpoint: Endpoint,
        me: Identity,
        handler: LinkHandler,
        admit: Admit,
        policy: LivenessPolicy,
        curve: CurveServer | None,
    ) -> None:
        self._reactor = reactor
        self._me = me
        self._handler = handler
        self._admit = admit
        self._policy = policy
        self._authenticates = curve is not None
        self._channels: dict[bytes, Channel] = {}
        self._retired: OrderedDict[bytes, None] = OrderedDict()
        self._socket: zmq.Socket[bytes] = reactor.context.socket(zmq.ROUTER)
        set_options(self._socket, endpoint)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if curve is not None:
            set_server_keys(self._socket, curve, reactor.allow(curve.allowed))
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.bind(str(endpoint))
        except zmq.ZMQError as ex:
            close_monitored(self._socket, self._monitor, 0)
            raise EndpointError(f"cannot listen on {endpoint}: {ex.strerror}") from ex
        self.endpoint = str(parse(self._socket.getsockopt_string(zmq.LAST_ENDPOINT)))
        reactor.adopt(self._socket, self._on_readable, self._close)
        reactor.adopt(self._monitor, self._on_monitor)

    def close(self) -> None:
        """Say GOODBYE on every link and stop listening; idempotent. Any thread."""
        self._reactor.run_soon(self._close)

    def _close(self) -> None:
        if self._socket.closed:
            return
        for channel in list(self._channels.values()):
            channel.close("listener_closed")
        self._reactor.release(self._monitor)
        self._reactor.release(self._socket)
        close_monitored(self._socket, self._monitor, LINGER_MS)

    def _on_readable(self) -> None:
        socket = self._socket
        for _ in range(BATCH):
            try:
                frames, user = self._receive()
            except zmq.Again:
                return
            channel = self._channels.get(frames[0])
            if channel is not None:
                channel.received(frames[1:])
            else:
                self._on_stranger(frames[0], frames[1:], user)
            if socket.closed or not socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                return

    def _receive(self) -> tuple[list[bytes], str | None]:
        if not self._authenticates:
            return self._socket.recv_multipart(zmq.NOBLOCK), None
        frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        return [frame.bytes for frame in frames], str(frames[-1].get("User-Id"))

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
        """Bind a peer that says a proper HELLO; return why not, otherwise."""
        try:
            hello = codec.decode_body(Kind.HELLO, payload)
        except ProtocolError as ex:
            self._drop(DropReason.MALFORMED, routing_id)
            return ex.reason, ex.detail
        assert isinstance(hello, Hello)  # noqa: S101 -- the codec has checked the kind's body
        route = Route.parse(routing_id)
        fault = DropReason.UNKNOWN_SOURCE if route is None else judge_hello(header, hello, route)
        if routing_id in self._retired:
            fault = DropReason.STALE_INCARNATION
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
        self._bind(routing_id, header, hello)
        return None

    def _admission(self, hello: Hello) -> str | None:
        try:
            return self._admit(hello)
        except Exception:  # noqa: BLE001 -- the loop outlives its users' mistakes
            _log.exception("admit_failed listener=%s", self._me.name)
            return "internal"

    def _bind(self, routing_id: bytes, header: Header, hello: Hello) -> None:
        peer = Identity(hello.boot, hello.slot, hello.inc, hello.pid, hello.role, hello.name)
        session = Session(self._me, self._policy, self._reactor.now(), peer)
        port = _Port(self._socket, routing_id)
        channel = Channel(
            self._reactor, session, port, self._handler, lambda: self._retire(routing_id)
        )
        self._channels[routing_id] = channel
        channel.begin(session.welcome(header.seq), HANDSHAKE_S)

    def _retire(self, routing_id: bytes) -> None:
        self._channels.pop(routing_id, None)
        self._retired[routing_id] = None
        if len(self._retired) > _MEMORY:
            self._retired.popitem(last=False)

    def _say_goodbye(self, routing_id: bytes, inc: int, reason: str, detail: str) -> None:
        header = Header(VERSION, Kind.GOODBYE, 0, self._me.slot, inc, 1, 0, 0, 0)
        frames = [routing_id, pack(header), codec.encode_body(Goodbye(reason, detail))]
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as ex:
            _log.debug("goodbye_not_sent peer=%r error=%s", routing_id, ex)

    def _drop(self, reason: DropReason, routing_id: bytes) -> None:
        first = self._reactor.counters.count(reason, self._reactor.now())
        level = logging.WARNING if first else logging.DEBUG
        _log.log(level, "message_dropped peer=%r reason=%s", routing_id, reason)

    def _on_monitor(self) -> None:
        """Some connection broke; ZeroMQ does not say whose, but a PING to it will fail."""
        if monitor_events(self._monitor):
            self._probe()
            self._reactor.call_later(_PROBE_AGAIN_S, self._probe)

    def _probe(self) -> None:
        for channel in list(self._channels.values()):
            channel.doubt()
