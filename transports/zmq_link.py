"""ZeroMQ sockets as this project uses them, and the connecting end of a link.

One DEALER socket is one connection is one incarnation: it never reconnects. Reactor thread only,
but for sending, which is for whoever has the reactor's turn.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import zmq
import zmq.backend

from transports.channel import Channel
from transports.curve import CurveClient, CurveServer
from transports.endpoints import Endpoint
from transports.errors import LinkDown
from transports.identity import Route
from transports.link import Identity, LinkHandler
from transports.liveness import LivenessPolicy
from transports.session import Session

if TYPE_CHECKING:
    from transports.reactor import Reactor

HWM = 1000
MAX_FRAME_BYTES = 64 << 20
LINGER_MS = 100
_NEVER_MS = 3_600_000

_GONE = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_EVENT = struct.Struct("=HI")

# PERF: plain numbers; arithmetic on pyzmq's flag enums costs more than sending a frame.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
# PERF: the Python-level send around it only looks at arguments that we never give.
_send = zmq.backend.Socket.send


def set_options(socket: zmq.Socket[bytes], endpoint: Endpoint) -> None:
    """Set what every socket of ours has. HWM is a fuse, not the flow control."""
    socket.setsockopt(zmq.SNDHWM, HWM)
    socket.setsockopt(zmq.RCVHWM, HWM)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    socket.setsockopt(zmq.IPV6, int(":" in endpoint.host))
    if endpoint.scheme == "tcp":
        # After SUSPECT and before DOWN: a vanished host breaks the connection after 8 s.
        # PERF: ZeroMQ's own heartbeats have the kernel set a timer for each wait of an I/O thread.
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 2)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 2)
        socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        socket.setsockopt(zmq.TCP_MAXRT, 8000)


def set_server_keys(socket: zmq.Socket[bytes], curve: CurveServer, domain: bytes) -> None:
    """Let only those in whom the ZAP handler knows in ``domain``."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, curve.keys.secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, domain)


def _set_client_keys(socket: zmq.Socket[bytes], curve: CurveClient) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, curve.keys.secret)
    socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server_public)


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Return the next message, or what is left of it.

    Raises:
        zmq.Again: There is none.
    """
    # PERF: a frame knows whether more follow; recv_multipart asks the socket each time.
    recv = socket.recv
    frame = recv(_NOBLOCK, False)
    frames = [frame.bytes]
    while frame.more:
        frame = recv(_NOBLOCK, False)
        frames.append(frame.bytes)
    return frames


def receive_from(socket: zmq.Socket[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the next message of a ROUTER: who sent it, and its frames. Raises like ``receive``."""
    # PERF: a ROUTER always has more behind the routing id, so it need not be a frame.
    return socket.recv(_NOBLOCK), receive(socket)


def receive_authenticated(socket: zmq.Socket[bytes]) -> tuple[bytes, list[bytes], str]:
    """Return what ``receive_from`` does, and whom the connection's CURVE key belongs to."""
    routing_id = socket.recv(_NOBLOCK, copy=False)
    return routing_id.bytes, receive(socket), str(routing_id.get("User-Id"))


def transmit(socket: zmq.Socket[bytes], frames: Sequence[bytes], to: bytes = b"") -> bool:
    """Send one message whole, ``to`` one peer of a ROUTER; False if there is no room now.

    Raises:
        LinkDown: The peer cannot be reached any more.
    """
    try:
        if to:
            _send(socket, to, _MORE)
        *first, last = frames
        for frame in first:
            _send(socket, frame, _MORE)
        _send(socket, last, _NOBLOCK)
    except zmq.Again:
        return False
    except zmq.ZMQError as ex:
        raise LinkDown(str(ex)) from ex
    return True


def monitor_events(monitor: zmq.Socket[bytes]) -> list[tuple[int, int]]:
    """Return the (event, value) pairs that wait in a socket monitor."""
    events: list[tuple[int, int]] = []
    while monitor.poll(0):
        event, value = _EVENT.unpack(monitor.recv_multipart(zmq.NOBLOCK)[0])
        events.append((event, value))
    return events


def close_monitored(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], linger_ms: int) -> None:
    """Close a socket and its monitor."""
    socket.disable_monitor()
    monitor.close(0)
    socket.close(linger_ms)


@final
class Dialer:
    """One attempt to connect, and the port of the link that comes of it."""

    def __init__(
        self,
        reactor: Reactor,
        endpoint: Endpoint,
        me: Identity,
        handler: LinkHandler,
        policy: LivenessPolicy,
        curve: CurveClient | None,
    ) -> None:
        self._reactor = reactor
        self._session = Session(me, policy, reactor.now())
        self._channel = Channel(reactor, self._session, self, handler, lambda: None)
        self._route = Route.of(me)
        self._endpoint = endpoint
        self._curve = curve
        self._unsure = reactor.poller.unsure
        self._is_open = False
        self._socket: zmq.Socket[bytes]
        self._monitor: zmq.Socket[bytes]
        self._fd: int

    def dial(self, deadline_s: float) -> None:
        """Start connecting; the handler hears how it ends within ``deadline_s``."""
        self._channel.begin((), deadline_s)
        try:
            self._open()
            self._socket.connect(str(self._endpoint))
        except zmq.ZMQError as ex:
            self._channel.lost("connect_failed", f"{self._endpoint}: {ex}")

    def _open(self) -> None:
        """Make the socket; whatever there is too little of, nothing of it is left then."""
        socket: zmq.Socket[bytes] = self._reactor.context.socket(zmq.DEALER)
        try:
            self._set_up(socket)
            wanted = zmq.EVENT_HANDSHAKE_SUCCEEDED | _GONE | _REFUSED
            self._monitor = socket.get_monitor_socket(wanted)
        except zmq.ZMQError:
            socket.close(0)
            raise
        self._socket, self._fd, self._is_open = socket, socket.fileno(), True
        self._reactor.adopt(socket, self._on_readable, self._stop)
        self._reactor.adopt(self._monitor, self._on_monitor)

    def _set_up(self, socket: zmq.Socket[bytes]) -> None:
        set_options(socket, self._endpoint)
        # With IMMEDIATE, or without reconnecting, libzmq throws away what the peer said last. So it
        # believes that it will reconnect, in an hour; we close at the first sign of a break.
        socket.setsockopt(zmq.IMMEDIATE, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, _NEVER_MS)
        socket.setsockopt(zmq.ROUTING_ID, self._route.routing_id())
        if self._curve is not None:
            _set_client_keys(socket, self._curve)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Send one message whole; False if there is no room now."""
        self._unsure.add(self._fd)
        return transmit(self._socket, frames)

    def close(self) -> None:
        """Give up the connection."""
        if self._is_open:
            self._is_open = False
            self._reactor.release(self._monitor)
            self._reactor.release(self._socket)
            close_monitored(self._socket, self._monitor, LINGER_MS)

    def _stop(self) -> None:
        self._channel.close("stopped", "the process ends its links")

    def _on_readable(self) -> None:
        # PERF: one message a turn; the poll that follows is quicker than asking for more here.
        try:
            frames = receive(self._socket)
        except zmq.Again:
            return
        self._channel.received(frames)

    def _on_monitor(self) -> None:
        for event, value in monitor_events(self._monitor):
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._channel.greet()
            elif event & _REFUSED:
                self._channel.lost("handshake_refused", f"{self._endpoint}: error {value}")
            else:
                self._on_gone()
            if not self._is_open:
                return

    def _on_gone(self) -> None:
        # What the peer said before it went still counts.
        while self._is_open and self._socket.poll(0):
            self._on_readable()
        known = self._session.peer is not None
        reason = "disconnected" if known else "connect_failed"
        self._channel.lost(reason, str(self._endpoint))
