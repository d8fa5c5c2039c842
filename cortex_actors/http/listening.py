"""The sockets that HTTP clients connect to."""

from __future__ import annotations

import socket
import struct
from typing import Final

from cortex_actors.config.address import Address

BACKLOG: Final = 512
SEND_STALL_S: Final = 10.0
"""How long a client may take nothing of what is written before its request is cancelled."""
RECEIVE_STALL_S: Final = 30.0
"""How long a client may pause while it sends a request."""


_TIMEVAL: Final = struct.Struct("ll")


class ListenError(Exception):
    """An address that cannot be listened on; the message names it and says why."""


def listen(
    address: Address,
    receive_stall_s: float = RECEIVE_STALL_S,
    send_stall_s: float = SEND_STALL_S,
) -> socket.socket:
    """Bind and listen; connections inherit the stall limits from the returned socket.

    Raises:
        ListenError: The address is in use, not ours, or not allowed.
    """
    sock = None
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_stall_s))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_stall_s))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(target)
        sock.listen(BACKLOG)
    except OSError as ex:
        if sock is not None:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {ex.strerror or ex}") from ex
    return sock


def write_patience_s(connection: socket.socket) -> float:
    """Return how long a write to an accepted connection may make no progress."""
    whole, part = _TIMEVAL.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.size)
    )
    return whole + part / 1e6 or SEND_STALL_S


def _timeval(seconds: float) -> bytes:
    whole, part = divmod(seconds, 1.0)
    return _TIMEVAL.pack(int(whole), int(part * 1e6))
