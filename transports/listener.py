"""The listening end on ZeroMQ: one ROUTER socket.

Reactor thread only, except for ``endpoint`` and ``close``, and for a port's ``send``, which is for
whoever has the reactor's turn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import zmq

from transports.curve import CurveServer
from transports.endpoints import Endpoint, parse
from transports.errors import EndpointError
from transports.link import Identity, LinkHandler
from transports.liveness import LivenessPolicy
from transports.poller import Poller
from transports.reception import Admit, Reception
from transports.zmq_link import (
    LINGER_MS,
    close_monitored,
    monitor_events,
    receive_authenticated,
    receive_from,
    set_options,
    set_server_keys,
    transmit,
)

if TYPE_CHECKING:
    from transports.reactor import Reactor

_PROBE_AGAIN_S = 0.05


@final
class _Port:
    """The way out to one peer of the ROUTER, which stays open for the others."""

    __slots__ = ("_fd", "_routing_id", "_socket", "_unsure")

    def __init__(self, poller: Poller, socket: zmq.Socket[bytes], routing_id: bytes) -> None:
        self._unsure = poller.unsure
        self._socket = socket
        self._fd = socket.fileno()
        self._routing_id = routing_id

    def send(self, frames: Sequence[bytes]) -> bool:
        self._unsure.add(self._fd)
        return transmit(self._socket, frames, self._routing_id)

    def close(self) -> None:
        pass


@final
class Listener:
    """One address that peers connect to. ``endpoint`` is the real one, with its port."""

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
        self._address = endpoint
        self._authenticates = curve is not None
        try:
            self._socket, self._monitor = self._bound(reactor, curve)
        except zmq.ZMQError as ex:
            raise EndpointError(f"cannot listen on {endpoint}: {ex.strerror}") from ex
        socket = self._socket
        self._reception = Reception(reactor, me, handler, admit, policy, self._port_to)
        self._received = self._reception.received
        self.endpoint = str(parse(socket.getsockopt_string(zmq.LAST_ENDPOINT)))
        if endpoint.scheme == "ipc":
            os.chmod(endpoint.path, 0o600)
        reactor.adopt(socket, self._on_readable, self._close)
        reactor.adopt(self._monitor, self._on_monitor)

    def _bound(
        self, reactor: Reactor, curve: CurveServer | None
    ) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """Return the socket and its monitor; if that cannot be, nothing is left of them."""
        socket: zmq.Socket[bytes] = reactor.context.socket(zmq.ROUTER)
        try:
            set_options(socket, self._address)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            if curve is not None:
                set_server_keys(socket, curve, reactor.allow(curve.allowed))
            monitor: zmq.Socket[bytes] = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        except zmq.ZMQError:
            socket.close(0)
            raise
        try:
            socket.bind(str(self._address))
        except zmq.ZMQError:
            close_monitored(socket, monitor, 0)
            raise
        return socket, monitor

    def close(self) -> None:
        """Say GOODBYE on every link and stop listening; idempotent. Any thread."""
        self._reactor.run_soon(self._close)

    def _port_to(self, routing_id: bytes) -> _Port:
        return _Port(self._reactor.poller, self._socket, routing_id)

    def _close(self) -> None:
        if not self._socket.closed:
            self._reception.close()
            self._reactor.release(self._monitor)
            self._reactor.release(self._socket)
            close_monitored(self._socket, self._monitor, LINGER_MS)
            if self._address.scheme == "ipc":
                # ZeroMQ removes no path that it did not choose itself.
                Path(self._address.path).unlink(missing_ok=True)

    def _on_readable(self) -> None:
        # PERF: one message a turn; the poll that follows is quicker than asking for more here.
        user = None
        try:
            if self._authenticates:
                routing_id, frames, user = receive_authenticated(self._socket)
            else:
                routing_id, frames = receive_from(self._socket)
        except zmq.Again:
            return
        self._received(routing_id, frames, user)

    def _on_monitor(self) -> None:
        """Some connection broke; ZeroMQ does not say whose, but a PING to it will fail."""
        if monitor_events(self._monitor):
            self._reception.probe()
            self._reactor.call_later(_PROBE_AGAIN_S, self._reception.probe)
