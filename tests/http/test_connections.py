"""Connections that ask more than once, and more of them than there are threads."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.http.scripted_fleet import MODEL, ScriptedFleet
from tests.http.server_process import ServerProcess, server_process

pytestmark = pytest.mark.process

THREADS = 8
"""As ``server_process.command`` has it."""


@pytest.fixture
def small(fleet: ScriptedFleet) -> Iterator[ServerProcess]:
    with server_process(fleet.endpoint) as server:
        server.await_ready()
        yield server


def connect(server: ServerProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=20.0)


def ask(connection: http.client.HTTPConnection, body: object) -> tuple[int, bytes]:
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_nobody_waits_for_connections_that_ask_nothing(small: ServerProcess) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(small))) for _ in range(3 * THREADS)]
        for _ in range(2):
            for connection in connections:
                connection.request("GET", "/health")
            answers = [connection.getresponse() for connection in connections]
            assert [answer.status for answer in answers] == [200] * len(connections)
            for answer in answers:
                answer.read()


def test_a_body_that_is_not_read_does_not_become_the_next_request(small: ServerProcess) -> None:
    with closing(connect(small)) as connection:
        connection.request("POST", "/health", b"GET /admin HTTP/1.1\r\n\r\n" * 200)
        assert connection.getresponse().read()
        assert ask(connection, {"model": MODEL, "messages": []})[0] == 400
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


def test_requests_sent_ahead_are_answered_in_order(small: ServerProcess) -> None:
    head = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"
    paths = [b"/health", b"/nowhere", b"/version", b"/nowhere", b"/health"]
    with closing(connect(small)) as connection:
        connection.connect()
        connection.sock.sendall(b"".join(head % path for path in paths))
        answers = b""
        while len(found := re.findall(rb"HTTP/1.1 (\d+) ", answers)) < len(paths):
            more = connection.sock.recv(65536)
            assert more
            answers += more
    assert found == [b"200", b"404", b"200", b"404", b"200"]
