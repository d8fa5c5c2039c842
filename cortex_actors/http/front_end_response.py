"""Gunicorn's response with fewer writes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, final

from gunicorn import util
from gunicorn.http.wsgi import Response


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    # PERF: it is the same for all answers of a second.
    return str(util.http_date(second))


@final
class FrontEndResponse(Response):  # type: ignore[misc]  # gunicorn is not typed
    """One HTTP/1.1 response; its head goes out with the first of its body, its end with the last.

    For the one thread that serves the request. What is written to a client that has left raises
    OSError.
    """

    headers_sent: bool

    # PERF: a system call lets go of the interpreter, and to get it back costs more than the call.

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._unsent = b""
        self._holds = False

    def default_headers(self) -> list[str]:
        """Return the status line and what every head has."""
        major, minor = self.req.version
        connection = "close" if self.should_close() else "keep-alive"
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date(int(datetime.now(UTC).timestamp()))}\r\n",
            f"Connection: {connection}\r\n",
        ]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines

    def send_headers(self) -> None:
        """Let the head go out with what is written next."""
        if self.headers_sent:
            return
        lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers]]
        self._unsent = "".join([*lines, "\r\n"]).encode("latin-1")
        self.headers_sent = True

    def hold(self) -> None:
        """Let what is written from now on go out with the end, which must follow at once."""
        self._holds = True

    def close(self) -> None:
        """Write the end, and the head if there was no body."""
        self.send_headers()
        self._holds = False
        self._send(b"0\r\n\r\n" if self.chunked else b"")

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _send(self, data: bytes) -> None:
        self._unsent += data
        if self._unsent and not self._holds:
            data, self._unsent = self._unsent, b""
            self.sock.sendall(data)
