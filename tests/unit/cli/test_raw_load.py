"""The raw generator against the bare server, and against servers that do not answer rightly."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from cortex_actors.cli.bench.gateway_figures import STREAM_TOKENS, WHOLE_TOKENS
from cortex_actors.cli.bench.mock_script import FAST, MARK, chat_request
from cortex_actors.cli.bench.raw_load import RawLoad
from tests.e2e.fleet import free_ports
from tests.eventually import eventually

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def bare() -> Iterator[tuple[str, int]]:
    (port,) = free_ports(1)
    argv = (sys.executable, "-m", "cortex_actors.cli.bench.mock_http", "--port", str(port))
    process = subprocess.Popen(argv)
    try:
        eventually(lambda: listens(port), 20.0, "the bare server listens")
        yield HOST, port
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/v1/models", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.process
@pytest.mark.parametrize(("tokens", "streamed"), [(WHOLE_TOKENS, False), (STREAM_TOKENS, True)])
def test_every_response_is_counted_with_its_tokens(
    bare: tuple[str, int], tokens: int, streamed: bool
) -> None:
    request = chat_request(HOST, model=FAST, tokens=tokens, streamed=streamed)
    record = RawLoad(bare, request, tokens=tokens, streamed=streamed).run(3, total=50)

    assert (record.responses, record.tokens, record.errors) == (50, 50 * tokens, {})
    assert len(record.latencies) == 50


@pytest.mark.process
def test_a_response_with_too_few_tokens_is_an_error(bare: tuple[str, int]) -> None:
    request = chat_request(HOST, model=FAST, tokens=2, streamed=True)
    record = RawLoad(bare, request, tokens=3, streamed=True).run(1, total=4)

    assert (record.responses, record.errors) == (0, {"2 tokens instead of 3": 4})


class Refusing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(429)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_refused_stream_is_an_error_and_not_waited_for() -> None:
    with HTTPServer((HOST, 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        load = RawLoad(
            (HOST, server.server_port),
            b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            tokens=1,
            streamed=True,
        )
        record = load.run(1, total=3)
        server.shutdown()
        thread.join()

    assert (record.responses, record.errors) == (0, {"HTTP 429": 3})


def test_the_mark_stands_nowhere_but_in_tokens() -> None:
    assert MARK not in chat_request(HOST, model=FAST, tokens=3, streamed=True)
