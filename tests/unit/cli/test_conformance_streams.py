"""The suite's case of streams that are left, against servers that give them up and that do not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cortex_actors.cli.conformance.case import Unmet
from cortex_actors.cli.conformance.server import NoAnswer, Server
from cortex_actors.cli.conformance.stream_ends import abandoned

STREAMS, SEATS = 40, 25
PATH = "/v1/chat/completions"


class SeatedServer(ThreadingHTTPServer):
    """Has so many seats; a stream that is left gives up its own, or never does."""

    daemon_threads = True

    def __init__(self, *, cancels: bool, refuses: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cancels, self.refuses = cancels, refuses
        self.seats = threading.Semaphore(SEATS)
        self.closing = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: SeatedServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._sit():
            return
        self.send_response(200)
        self.end_headers()
        if body.get("stream"):
            self._stream()
        else:
            self.wfile.write(b"{}")
            self.server.seats.release()

    def _sit(self) -> bool:
        while not self.server.seats.acquire(timeout=0.02):
            if self.server.refuses:
                self.send_error(429)
                return False
            if self.server.closing.is_set():
                return False
        return True

    def _stream(self) -> None:
        self.wfile.write(b"data: {}\n\n")
        if not self.server.cancels:
            self.server.closing.wait()
            return
        try:
            while True:
                self.wfile.write(b"data: {}\n\n")
        except OSError:
            self.server.seats.release()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(**options: bool) -> Iterator[Server]:
    with SeatedServer(**options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Server(f"http://127.0.0.1:{server.server_port}", "m", timeout_s=2.0) as client:
                yield client
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def ask(_server: Server, text: str, tokens: int) -> dict[str, Any]:
    return {"text": text, "tokens": tokens}


def test_a_server_that_gives_up_what_nobody_reads_passes() -> None:
    with serving(cancels=True) as server:
        abandoned(PATH, ask, STREAMS)(server)


@pytest.mark.parametrize("refuses", [False, True])
def test_one_that_goes_on_does_not_though_it_has_many_seats(refuses: bool) -> None:
    with serving(cancels=False, refuses=refuses) as server, pytest.raises((Unmet, NoAnswer)):
        abandoned(PATH, ask, STREAMS, again_s=0.2)(server)


def test_fewer_streams_than_seats_would_not_notice() -> None:
    with serving(cancels=False) as server:
        abandoned(PATH, ask, SEATS - 1)(server)
