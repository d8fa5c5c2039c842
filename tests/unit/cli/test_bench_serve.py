"""``cortexd bench serve`` against a scripted server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cortex_actors.cli import cortexd
from cortex_actors.cli.bench.load_generator import LoadGenerator
from cortex_actors.cli.bench.stream_record import CUT
from cortex_actors.cli.bench.target import Target
from tests.unit.cli.completion_events import TAIL, delta


class ScriptedServer(ThreadingHTTPServer):
    """Answers the first request, the warm-up, well; then as told.

    ``together`` makes every answer wait until so many requests run at the same time.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ScriptedAnswer)
        self.bodies: list[dict[str, Any]] = []
        self.answer = "stream"
        self.together = threading.Barrier(1)
        self.hold = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class ScriptedAnswer(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        if len(self.server.bodies) == 1:
            self._stream()
            return
        self.server.together.wait(10)
        if self.server.answer == "refuse":
            self.send_response(503)
            content = b'{"error": {"message": "no room"}}'
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        elif self.server.answer == "break":
            self._begin()
            self._chunk(delta(content="half"))
            self.close_connection = True
        elif self.server.answer == "hang":
            self._begin()
            self._chunk(delta(content="for ever"))
            self.server.hold.wait(10)
            self.close_connection = True
        else:
            self._stream()

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _stream(self) -> None:
        self._begin()
        self._chunk(delta(role="assistant", content=""))
        for word in ("one", " two", " three"):
            self._chunk(delta(content=word))
        self._chunk(TAIL)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="scripted")
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted() as running:
        yield running


def bench(url: str, *arguments: str) -> int:
    return cortexd.main(["bench", "serve", "--url", url, "--model", "m", *arguments])


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_level_keeps_its_number_of_streams_running(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.together = threading.Barrier(3)
    arguments = ("--streams", "3", "--requests", "6", "--new-tokens", "4", "--json", "--seed", "5")
    assert bench(server.url, *arguments) == 0
    (level,) = report(capsys)["levels"]
    figures = level["figures"]
    assert (figures["requests"], figures["completed"], figures["errors"]) == (6, 6, {})
    assert figures["output_tokens"] == 24
    assert figures["cached_tokens"] == 96
    assert figures["first_text"]["p50"] > 0
    asked = server.bodies[1:]
    assert len({body["messages"][0]["content"] for body in asked}) == 6
    assert {body["max_tokens"] for body in asked} == {4}
    assert all(body["ignore_eos"] for body in asked)


def test_an_open_loop_sends_every_request(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(server.url, "--rate", "200", "--requests", "5", "--json") == 0
    (level,) = report(capsys)["levels"]
    assert level["load"] == "200/s"
    assert level["figures"]["completed"] == 5


def test_a_table_has_a_row_per_level(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(server.url, "--streams", "1,2", "--prefix-tokens", "40") == 0
    shown = capsys.readouterr().out
    assert "1 stream " in shown
    assert "2 streams" in shown
    assert "4/4" in shown


@pytest.mark.parametrize(
    ("answer", "error"),
    [("refuse", "HTTP 503: no room"), ("break", "the connection was lost")],
)
def test_failures_are_counted_and_told(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], answer: str, error: str
) -> None:
    server.answer = answer
    assert bench(server.url, "--streams", "2", "--requests", "2") == 1
    assert f"2 streams: 2 x {error}" in capsys.readouterr().out


def test_the_limit_cuts_what_still_runs(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = "hang"
    assert bench(server.url, "--streams", "2", "--limit", "0.3", "--json") == 0
    figures = report(capsys)["levels"][0]["figures"]
    assert (figures["requests"], figures["cut"], figures["completed"]) == (2, 2, 0)


def test_a_cut_stream_keeps_its_tokens(server: ScriptedServer) -> None:
    server.answer = "hang"
    server.bodies.append({})

    async def cut_after_first_text() -> None:
        record, stream = LoadGenerator(Target.parse(server.url, "m"), 9).start("hello")
        async with asyncio.timeout(10):
            while not record.text_at:
                await asyncio.sleep(0.001)
        stream.cancel()
        await asyncio.wait([stream])
        assert (record.tokens, record.error) == (1, CUT)

    asyncio.run(cut_after_first_text())


def test_a_silent_endpoint_is_one_plain_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted() as server:
        url = server.url
    assert bench(url, "--streams", "1") == 1
    assert "cannot connect" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("--prefix-tokens", "80"), ("--rate", "-1")],
)
def test_impossible_wishes_are_refused_before_asking(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert bench("http://127.0.0.1:9", *arguments) == 1
    assert capsys.readouterr().err.startswith("cortexd: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--streams", "0"),
        ("--streams", "a"),
        ("--body", "{"),
        ("--body", "[]"),
        ("--url", "ftp://host"),
    ],
)
def test_malformed_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        bench("http://127.0.0.1:9", *arguments)
    assert exit_info.value.code == 2
