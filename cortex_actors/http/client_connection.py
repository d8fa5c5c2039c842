"""The client's end of a request: waiting for events must notice when nobody listens any more."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any, final

from cortex_actors.http.listening import write_patience_s

_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL


class ClientGoneError(ConnectionResetError):
    """The client left, or stopped reading; gunicorn takes it as a reset connection."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.ECONNRESET, why)


@final
class ClientConnection:
    """The socket under one WSGI request; without one (a test) the client never leaves.

    A client that only shuts down its writing side counts as gone: HTTP clients that still read
    do not do that, and a crashed one looks exactly so.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._socket: socket.socket | None = environ.get("gunicorn.socket")
        self._fd: int | None = None if self._socket is None else self._socket.fileno()
        self._patience_s: float | None = None

    def wait_for(self, fd: int, timeout_s: float) -> None:
        """Return when ``fd`` is readable or the time is over.

        Raises:
            ClientGoneError: The client closed the connection; noticed at once.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if self._fd is not None:
            poll.register(self._fd, select.POLLRDHUP)
        ready = dict(poll.poll(max(0.0, timeout_s) * 1e3))
        if self._fd is not None and ready.get(self._fd, 0) & _GONE:
            raise ClientGoneError("the client closed the connection")

    def wait_writable(self) -> None:
        """Return when the client can take more.

        Raises:
            ClientGoneError: It left, or took nothing for as long as ``listening.listen`` allows.
        """
        if self._fd is None or self._socket is None:
            return
        if self._patience_s is None:
            self._patience_s = write_patience_s(self._socket)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT | select.POLLRDHUP)
        ready = dict(poll.poll(self._patience_s * 1e3))
        if not ready:
            raise ClientGoneError(f"the client read nothing for {self._patience_s:g} s")
        if ready[self._fd] & _GONE:
            raise ClientGoneError("the client closed the connection")
