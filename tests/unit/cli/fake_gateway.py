"""A daemon's HTTP API with canned answers, on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

STATUS: dict[str, Any] = {
    "service": "cortexd",
    "version": "1.2.3",
    "ready": True,
    "reason": "",
    "uptime_s": 3725.0,
    "neurons": [
        {
            "name": "local",
            "state": "up",
            "hostname": "box",
            "age_s": 0.25,
            "uptime_s": 3600.0,
            "devices": [{"id": "cpu:0", "memory_free_mb": 2048, "memory_total_mb": 4096}],
            "models": [
                {
                    "id": "tiny",
                    "status": "ready",
                    "devices": ["cpu:0"],
                    "running": 1,
                    "waiting": 2,
                    "capacity": 16,
                    "restarts": 3,
                }
            ],
            "warm": [{"id": "nap", "memory_mb": 100, "wake_s": 0.5}],
        }
    ],
    "models": [{"id": "tiny", "status": "ready", "progress": 1.0, "context_length": 8192}],
    "aliases": {},
}


def sse(*texts: str, end: str = "data: [DONE]\n\n") -> bytes:
    """Return an OpenAI chat stream."""
    events = ({"choices": [{"delta": {"content": text}}]} for text in texts)
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return (": ping\n\n" + body + end).encode()


class FakeGateway:
    """Serves ``answers`` by "METHOD path"; everything asked is in ``asked``.

    ``headers`` are those of the last request, in lower case.
    """

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.answers: dict[str, tuple[int, bytes]] = {
            "GET /health": (200, b'{"status": "ok"}'),
            "GET /admin/status": (200, json.dumps(STATUS).encode()),
            "GET /v1/models": (200, json.dumps({"data": STATUS["models"]}).encode()),
            "POST /admin/load": (200, b'{"model": "tiny", "load_s": 1.5}'),
            "POST /admin/unload": (200, b'{"model": "tiny"}'),
            "POST /v1/chat/completions": (200, sse("Hel", "lo")),
        }
        self._server = ThreadingHTTPServer(address, _Handler)
        self._server.daemon_threads = True
        self._server.gateway = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def refuse(self, route: str, status: int, message: str) -> None:
        """Answer this route with an OpenAI error."""
        self.answers[route] = (status, json.dumps({"error": {"message": message}}).encode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""

    def _answer(self) -> None:
        gateway = cast("FakeGateway", self.server.gateway)  # type: ignore[attr-defined]
        size = int(self.headers.get("content-length", 0))
        route = f"{self.command} {self.path}"
        gateway.asked.append((route, json.loads(self.rfile.read(size)) if size else None))
        gateway.headers = {name.lower(): value for name, value in self.headers.items()}
        status, body = gateway.answers.get(route, (404, b"{}"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
