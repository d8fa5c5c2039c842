"""Waits for descriptors and ZeroMQ sockets. One thread.

A ZeroMQ socket has a descriptor, but that one only says "something happened, look": it may be
silent while messages wait. So a socket that was read from or sent on since is looked at before
waiting, and no other: what a turn costs depends on what is active, not on how many links there are.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import final

import zmq

Reader = Callable[[], None]
Source = int | zmq.Socket[bytes]

_POLLIN = int(zmq.POLLIN)
_EVENTS = zmq.EVENTS


@final
class Poller:
    """Sources and who reads them. A reader takes one message, or all bytes, that are there."""

    __slots__ = ("_epoll", "_fds", "_sockets", "readers", "unsure", "wait")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wait = self._epoll.poll
        """Wait so many seconds for descriptors, of this object touching nothing. Any thread."""
        self.readers: dict[int, Reader] = {}
        """Who reads which descriptor."""
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        self._fds: dict[zmq.Socket[bytes], int] = {}
        self.unsure: set[int] = set()
        """Descriptors to look at before waiting. Whoever sends on or reads from one adds it."""

    def add(self, source: Source, reader: Reader) -> None:
        """Call for ``reader`` whenever ``source`` can be read."""
        if isinstance(source, int):
            fd = source
        else:
            fd = self._fds[source] = source.fileno()
            self._sockets[fd] = source
            self.unsure.add(fd)
        self.readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN)

    def add_doorbell(self, fd: int) -> None:
        """Return from waiting at every write to this eventfd, which nobody needs to read."""
        self.readers[fd] = _nothing
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def remove(self, source: Source) -> None:
        """Forget a source, if it is known; call it before closing."""
        fd = source if isinstance(source, int) else self._fds.pop(source, -1)
        if self.readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._sockets.pop(fd, None)
            self.unsure.discard(fd)

    def look(self) -> list[int]:
        """Return which of those in ``unsure`` can be read, and take out the others."""
        ready: list[int] = []
        unsure, sockets = self.unsure, self._sockets
        for fd in tuple(unsure):
            socket = sockets.get(fd)
            if socket is not None and socket.getsockopt(_EVENTS) & _POLLIN:  # type: ignore[operator]
                ready.append(fd)
            else:
                unsure.discard(fd)
        return ready

    def close(self) -> None:
        """Give up the descriptor."""
        self._epoll.close()


def _nothing() -> None:
    pass
