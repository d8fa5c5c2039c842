"""What a client that leaves, lags or sends rubbish does to a real server process: nothing."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from tests.eventually import eventually
from tests.http.scripted_fleet import MODEL, ScriptedFleet, say, say_hello, say_nothing
from tests.http.server_process import ServerProcess, server_process
from transports.link import IncomingRequest

pytestmark = pytest.mark.process

BODY: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


PATHS: dict[str, dict[str, object]] = {
    "/v1/chat/completions": BODY,
    "/v1/completions": {"model": MODEL, "prompt": "Hi"},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
    "/v1/messages": {**BODY, "max_tokens": 9},
}
FLOOD, FLOOD_PIECE = 256, 1 << 16


def send(
    server: ServerProcess, body: dict[str, object], path: str = "/v1/chat/completions"
) -> socket.socket:
    """Send a request and return its socket without reading the answer."""
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    sock = socket.create_connection(("127.0.0.1", server.port), 5.0)
    sock.sendall(head.encode() + payload)
    return sock


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_while_nothing_comes_is_cancelled(
    server: ServerProcess, fleet: ScriptedFleet, stream: bool
) -> None:
    fleet.engine.on_generate = say_nothing
    sock = send(server, {**BODY, "stream": stream})
    fleet.engine.asked.get(timeout=5.0)
    sock.close()
    assert fleet.engine.cancelled.get(timeout=5.0) == "client_gone"
    settled = fleet.daemon.settled.get(timeout=5.0)
    assert settled.outcome == "cancelled"
    assert settled.cancel_s > 0


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_cancelled(
    server: ServerProcess, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = lambda request: say(request, 0, "Hel")
    sock = send(server, {**BODY, "stream": True})
    with sock.makefile("rb") as answer:
        while b"Hel" not in answer.readline():
            pass
    sock.close()
    assert fleet.engine.cancelled.get(timeout=5.0) == "client_gone"


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_stops_reading_is_cancelled_at_its_engine(
    fleet: ScriptedFleet, path: str
) -> None:
    """What fits in no buffer between server and client is more than both sides' kernels hold."""

    def flood(request: IncomingRequest) -> None:
        for index in range(FLOOD):
            say(request, index, "x" * FLOOD_PIECE)

    fleet.engine.on_generate = flood
    with server_process(fleet.endpoint, "--send-stall-s=0.2") as server:
        server.await_ready()
        with send(server, {**PATHS[path], "stream": True}, path) as sock:
            assert sock.recv(1)
            assert fleet.engine.cancelled.get(timeout=20.0) == "client_gone"
            settled = fleet.daemon.settled.get(timeout=5.0)
            assert settled.outcome == "cancelled"
            assert settled.completion_tokens == FLOOD
            assert settled.cancel_s > 0
        # Its thread and its slot serve others again.
        fleet.engine.on_generate = say_hello
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=BODY, trust_env=False)
        assert answer.status_code == 200


def test_a_client_that_leaves_during_a_cold_load_gives_its_lease_request_back(
    server: ServerProcess, fleet: ScriptedFleet
) -> None:
    cancelled: list[str] = []
    fleet.daemon.on_lease = lambda request: request.on_cancel(cancelled.append)
    sock = send(server, {**BODY, "stream": True})
    with sock.makefile("rb") as answer:
        while not answer.readline().startswith(b": ping"):
            pass
    sock.close()
    eventually(lambda: cancelled == ["client_gone"])


def test_more_silent_clients_than_slots_leave_health_alone(
    server: ServerProcess, fleet: ScriptedFleet
) -> None:
    fleet.engine.on_generate = say_nothing
    held = [send(server, {**BODY, "stream": True}) for _ in range(7)]
    for _ in held:
        fleet.engine.asked.get(timeout=5.0)
    with httpx.Client(trust_env=False) as client:
        refused = client.post(f"{server.url}/v1/chat/completions", json=BODY)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert client.get(f"{server.url}/health").status_code == 200
    for sock in held:
        sock.close()
    for _ in held:
        fleet.engine.cancelled.get(timeout=5.0)
    fleet.engine.on_generate = say_hello
    eventually(
        lambda: (
            httpx.post(f"{server.url}/v1/chat/completions", json=BODY, trust_env=False).status_code
            == 200
        )
    )


def test_bad_requests_over_a_socket_get_the_envelope(server: ServerProcess) -> None:
    url = f"{server.url}/v1/chat/completions"
    with httpx.Client(trust_env=False) as client:
        chunked = client.post(
            url,
            content=iter([b'{"model":', b'"tiny"}']),
            headers={"content-type": "application/json"},
        )
        assert chunked.json()["error"]["param"] == "messages"
        assert client.get(f"{server.url}/nope").json()["error"]["code"] == "unknown_url"
    # The server must not wait for a body that it has refused by its length.
    with socket.create_connection(("127.0.0.1", server.port), 5.0) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_a_request_id_is_kept_and_injection_is_not(server: ServerProcess) -> None:
    sent = httpx.get(f"{server.url}/health", headers={"x-request-id": "mine"}, trust_env=False)
    assert sent.headers["x-request-id"] == "mine"
    forged = httpx.get(f"{server.url}/health", headers={"x-request-id": "a b"}, trust_env=False)
    assert forged.headers["x-request-id"].startswith("req-")


def test_a_keep_alive_comes_each_second_until_the_text_does(
    server: ServerProcess, fleet: ScriptedFleet
) -> None:
    asked: list[IncomingRequest] = []
    fleet.engine.on_generate = asked.append
    with (
        httpx.Client(trust_env=False) as client,
        client.stream(
            "POST", f"{server.url}/v1/chat/completions", json={**BODY, "stream": True}
        ) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
        say_hello(asked[0])
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""]
