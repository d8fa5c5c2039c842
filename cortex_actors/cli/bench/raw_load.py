"""Requests over connections that are kept, with as little work for each as Python can do.

One thread, one epoll; a response is only searched for its end and its tokens.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import Final, final

from cortex_actors.cli.bench.mock_script import MARK

_READ: Final = 1 << 18
_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_DONE: Final = b"[DONE]"
_SILENCE_S: Final = 15.0


@final
@dataclass(slots=True)
class LoadRecord:
    """What came of a load. Times in seconds; ``latencies`` has one entry per good response."""

    responses: int = 0
    tokens: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def failed(self, why: str) -> None:
        """Count an error."""
        self.errors[why] = self.errors.get(why, 0) + 1


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    pieces: list[bytes] = field(default_factory=list)
    asked_at: float = 0.0
    token_at: float = 0.0
    size: int = 0
    """Of a whole response, head and body; 0 before the head is there."""
    arrived: int = 0
    tail: bytes = b""


@final
class RawLoad:
    """``request`` again and again, to one server.

    Args:
        tokens: How many each response must have; any other number is an error.
        streamed: Responses are chunked streams that must end with ``[DONE]``.
        gaps: Note the time between reads that brought tokens.
    """

    def __init__(
        self,
        address: tuple[str, int],
        request: bytes,
        *,
        tokens: int,
        streamed: bool,
        gaps: bool = False,
    ) -> None:
        self._address = address
        self._request = request
        self._tokens = tokens
        self._streamed = streamed
        self._gaps = gaps
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._record = LoadRecord()
        self._left = 0

    def run(self, connections: int, *, total: int = 0, seconds: float = 0.0) -> LoadRecord:
        """Keep so many connections asking until ``total`` responses or the time is up."""
        self._left = total or 1 << 62
        began = time.perf_counter()
        end = began + (seconds or 1e9)
        for _ in range(min(connections, self._left)):
            self._connect()
        while self._open:
            ready = self._poll.poll(_SILENCE_S)
            now = time.perf_counter()
            if now >= end:
                break
            if not ready:
                self._record.failed("silence")
                break
            for fd, _ in ready:
                self._read(self._open[fd], now)
        self._record.seconds = time.perf_counter() - began
        for connection in self._open.values():
            connection.sock.close()
        self._poll.close()
        return self._record

    def _connect(self) -> None:
        sock = socket.create_connection(self._address, timeout=_SILENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll.register(sock, select.EPOLLIN)
        connection = _Connection(sock)
        self._open[sock.fileno()] = connection
        self._ask(connection)

    def _ask(self, connection: _Connection) -> None:
        if self._left <= 0:
            self._close(connection)
            return
        self._left -= 1
        connection.pieces.clear()
        connection.size = connection.arrived = 0
        connection.token_at = 0.0
        connection.tail = b""
        connection.asked_at = time.perf_counter()
        connection.sock.send(self._request)

    def _close(self, connection: _Connection) -> None:
        del self._open[connection.sock.fileno()]
        connection.sock.close()

    def _read(self, connection: _Connection, now: float) -> None:
        try:
            data = connection.sock.recv(_READ)
        except OSError as error:
            data = b""
            self._record.failed(type(error).__name__)
        if not data:
            self._record.failed("the connection was closed")
            self._close(connection)
            if self._left > 0:
                self._connect()
            return
        connection.pieces.append(data)
        connection.arrived += len(data)
        if self._gaps and MARK in data:
            if connection.token_at:
                self._record.gaps.append(now - connection.token_at)
            connection.token_at = now
        if self._complete(connection, data):
            self._note(connection, now)
            self._ask(connection)

    def _complete(self, connection: _Connection, data: bytes) -> bool:
        if self._streamed:
            connection.tail = (connection.tail + data)[-len(_LAST_CHUNK) :]
            return connection.tail == _LAST_CHUNK or self._refused(connection)
        if not connection.size:
            connection.size = _size(b"".join(connection.pieces))
        return 0 < connection.size <= connection.arrived

    def _refused(self, connection: _Connection) -> bool:
        """Say whether a stream has become a whole response, which is an error."""
        if connection.size == 0 and len(connection.pieces) == 1:
            connection.size = _size(connection.pieces[0]) or -1
        return 0 < connection.size <= connection.arrived

    def _note(self, connection: _Connection, now: float) -> None:
        response = b"".join(connection.pieces)
        tokens = response.count(MARK)
        self._record.tokens += tokens
        if b" 200 " not in response[:16]:
            self._record.failed(f"HTTP {response[9:12].decode(errors='replace')}")
        elif tokens != self._tokens or (self._streamed and _DONE not in response[-64:]):
            self._record.failed(f"{tokens} tokens instead of {self._tokens}")
        else:
            self._record.responses += 1
            self._record.latencies.append(now - connection.asked_at)


def _size(response: bytes) -> int:
    """Return the whole size of a response with a known length; 0 if that is not known (yet)."""
    head_end = response.find(_HEAD_END)
    if head_end < 0:
        return 0
    _, found, rest = response[:head_end].lower().partition(b"content-length:")
    return head_end + len(_HEAD_END) + int(rest.split(b"\r\n", 1)[0]) if found else 0
