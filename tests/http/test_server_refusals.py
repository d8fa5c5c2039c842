"""What the server refuses by itself, over real sockets: the envelope, a request id, and an end."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from tests.eventually import eventually
from tests.http.scripted_fleet import ScriptedFleet
from tests.http.server_process import ServerProcess, server_process

pytestmark = pytest.mark.process

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MESSAGES = CHUNKED.replace(b"chat/completions", b"messages")
REFUSALS = {
    "no request line": (b"hello\r\n\r\n", 400, "malformed_request"),
    "no method": (b"G@T / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
    "no version": (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed_request"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "malformed_request"),
    "two lengths": (
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
        "malformed_request",
    ),
    "a chunk's size": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400, "malformed_request"),
    "a chunk's end": (CHUNKED + b"2\r\n{}XX0\r\n\r\n", 400, "malformed_request"),
    "a long line": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
    "a long header": (
        b"GET / HTTP/1.1\r\nA: " + b"a" * 9000 + b"\r\n\r\n",
        431,
        "headers_too_large",
    ),
    "many headers": (
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        431,
        "headers_too_large",
    ),
    "an expectation": (
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n",
        417,
        "expectation_failed",
    ),
    "a coding": (
        POST + b"Transfer-Encoding: snappy\r\n\r\n",
        501,
        "unsupported_transfer_coding",
    ),
    "half a head": (b"GET / HTT", 408, "request_timeout"),
    "half a body": (POST + b"Content-Length: 9\r\n\r\n{", 408, "request_timeout"),
}


@pytest.fixture(scope="module")
def hasty() -> Any:
    """A server that waits for nobody."""
    with server_process("ipc:///nobody/there", "--receive-stall-s=0.2") as server:
        server.await_alive()
        yield server


def ask(server: ServerProcess, request: bytes) -> tuple[http.client.HTTPResponse, Any]:
    with socket.create_connection(("127.0.0.1", server.port), 10.0) as sock:
        sock.sendall(request)
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response, json.loads(response.read())


@pytest.mark.parametrize("name", REFUSALS)
def test_a_request_that_cannot_be_read_is_refused_in_the_envelope(
    hasty: ServerProcess, name: str
) -> None:
    request, status, code = REFUSALS[name]
    response, body = ask(hasty, request)
    assert (response.status, body["error"]["code"]) == (status, code)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == body["error"]["request_id"] != ""
    eventually(lambda: body["error"]["request_id"] in hasty.log())
    assert "Traceback" not in hasty.log()


def test_a_broken_request_line_is_quoted(hasty: ServerProcess) -> None:
    _, body = ask(hasty, b"hello\r\n\r\n")
    assert body["error"]["message"].endswith("Invalid HTTP request line: 'hello'")


def test_a_broken_body_for_anthropics_api_gets_its_envelope(hasty: ServerProcess) -> None:
    response, body = ask(hasty, MESSAGES + b"zz\r\n\r\n")
    assert (response.status, body["error"]["type"]) == (400, "invalid_request_error")
    assert body["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    "headers",
    [b"Transfer-Encoding: snappy\r\n", b"Expect: miracles\r\n", b"A: " + b"a" * 9000 + b"\r\n"],
    ids=["a coding", "an expectation", "a long header"],
)
def test_a_broken_head_for_anthropics_api_gets_its_envelope(
    hasty: ServerProcess, headers: bytes
) -> None:
    response, body = ask(hasty, POST.replace(b"chat/completions", b"messages") + headers + b"\r\n")
    assert (body["type"], body["request_id"]) == ("error", response.headers["request-id"])


def test_a_client_that_leaves_within_its_body_is_no_fault_of_ours(hasty: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), 10.0) as sock:
        sock.sendall(CHUNKED + b"ff\r\n{")
    assert hasty.status("/health") == 200
    assert "Traceback" not in hasty.log()


@pytest.mark.parametrize(
    "headers",
    [b"SCRIPT_NAME: /elsewhere\r\n", b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n"],
)
def test_what_only_a_proxy_may_say_is_heard_from_nobody(
    hasty: ServerProcess, headers: bytes
) -> None:
    response, _ = ask(hasty, b"GET /health HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
    assert response.status == 200


def test_refusals_are_counted(server: ServerProcess, fleet: ScriptedFleet) -> None:
    ask(server, b"hello\r\n\r\n")
    assert fleet.daemon.responses.get(timeout=5.0).counts["other"] == {"400": 1}
