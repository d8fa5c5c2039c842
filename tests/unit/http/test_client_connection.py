from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from cortex_actors.http.client_connection import ClientConnection, ClientGoneError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def silent_fd() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


def test_a_client_that_leaves_is_noticed_at_once(pair: Pair, silent_fd: int) -> None:
    ours, theirs = pair
    client = ClientConnection({"gunicorn.socket": ours})
    theirs.close()
    with pytest.raises(ClientGoneError):
        client.wait_for(silent_fd, 60.0)
    with pytest.raises(ClientGoneError):
        client.wait_writable()


def test_a_client_that_leaves_after_sending_more_is_noticed_too(pair: Pair, silent_fd: int) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET / HTTP/1.1\r\n")
    theirs.close()
    with pytest.raises(ClientGoneError):
        ClientConnection({"gunicorn.socket": ours}).wait_for(silent_fd, 60.0)


def test_a_client_that_sends_the_next_request_early_is_still_there(
    pair: Pair, silent_fd: int
) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET / HTTP/1.1\r\n")
    ClientConnection({"gunicorn.socket": ours}).wait_for(silent_fd, 0.01)


def test_a_client_that_reads_nothing_runs_out_of_patience(pair: Pair) -> None:
    ours, _theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 100_000))
    client = ClientConnection({"gunicorn.socket": ours})
    client.wait_writable()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    with pytest.raises(ClientGoneError, match=r"read nothing for 0\.1 s"):
        client.wait_writable()


def test_without_a_socket_the_client_never_leaves(silent_fd: int) -> None:
    client = ClientConnection({})
    client.wait_for(silent_fd, 0.0)
    client.wait_writable()
