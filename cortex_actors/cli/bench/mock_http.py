"""A bare HTTP server that says what the mock engine says: what a gateway is compared with.

    python -m cortex_actors.cli.bench.mock_http --port 8000

It looks at no more of a request than it must, and its responses are made before they are asked for.
"""

from __future__ import annotations

import argparse
import heapq
import select
import signal
import socket
import time
from functools import cache
from typing import Any, Final, final

import msgspec

from cortex_actors.cli.bench.mock_script import GAP_S, MODELS, PROMPT_TOKENS, SLOW, pieces_of

_HEAD_END: Final = b"\r\n\r\n"
_READ: Final = 1 << 16
_BACKLOG: Final = 2048
_ID: Final = {"id": "chatcmpl-1", "created": 1, "model": "mock"}


class _Asked(msgspec.Struct):
    model: str = ""
    max_tokens: int = 1
    stream: bool = False


@cache
def _whole(model: str, tokens: int) -> bytes:
    text = "".join(pieces_of(model, tokens))
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": tokens,
        "total_tokens": PROMPT_TOKENS + tokens,
    }
    return _json({**_ID, "object": "chat.completion", "choices": [choice], "usage": usage})


@cache
def _events(model: str, tokens: int) -> tuple[bytes, ...]:
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant"}, None)]
    deltas += [({"content": text}, None) for text in pieces_of(model, tokens)]
    deltas.append(({}, "stop"))
    events = []
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {**_ID, "object": "chat.completion.chunk", "choices": [choice]}
        events.append(_chunk(b"data: %b\n\n" % msgspec.json.encode(chunk)))
    return (*events, _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _json(value: Any) -> bytes:
    body = msgspec.json.encode(value)
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_MODELS: Final = _json(
    {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}
)


@final
class MockHttp:
    """All of it on one thread."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.create_server((host, port), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._open: dict[int, socket.socket] = {}
        self._buffers: dict[int, bytes] = {}
        self._due: list[tuple[float, int, tuple[bytes, ...], socket.socket]] = []

    def run(self) -> None:
        """Serve for ever."""
        while True:
            wait_s = self._due[0][0] - time.monotonic() if self._due else 1.0
            for fd, _ in self._poll.poll(max(0.0, wait_s)):
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._read(fd)
            self._say_what_is_due()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._open[sock.fileno()] = sock
        self._buffers[sock.fileno()] = b""
        self._poll.register(sock, select.EPOLLIN)

    def _read(self, fd: int) -> None:
        try:
            data = self._open[fd].recv(_READ)
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        self._buffers[fd] += data
        while self._take(fd):
            pass

    def _take(self, fd: int) -> bool:
        """Answer the first whole request of the buffer."""
        buffer = self._buffers.get(fd, b"")
        head_end = buffer.find(_HEAD_END)
        if head_end < 0:
            return False
        head = buffer[:head_end].lower()
        _, found, rest = head.partition(b"content-length:")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        end = head_end + len(_HEAD_END) + length
        if len(buffer) < end:
            return False
        self._buffers[fd] = buffer[end:]
        self._answer(fd, buffer[end - length : end])
        return True

    def _answer(self, fd: int, body: bytes) -> None:
        if not body:
            self._send(fd, _MODELS)
            return
        asked = msgspec.json.decode(body, type=_Asked)
        if not asked.stream:
            self._send(fd, _whole(asked.model, asked.max_tokens))
            return
        events = _events(asked.model, asked.max_tokens)
        if asked.model != SLOW:
            self._send(fd, _STREAM_HEAD + b"".join(events))
            return
        first, *later = (events[0] + events[1], *events[2:-2], b"".join(events[-2:]))
        self._send(fd, _STREAM_HEAD + first)
        self._plan(fd, tuple(later), time.monotonic() + GAP_S)

    def _plan(self, fd: int, events: tuple[bytes, ...], due: float) -> None:
        if fd in self._open:
            heapq.heappush(self._due, (due, fd, events, self._open[fd]))

    def _say_what_is_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, fd, events, sock = heapq.heappop(self._due)
            if self._open.get(fd) is sock:
                self._send(fd, events[0])
                if len(events) > 1:
                    self._plan(fd, events[1:], due + GAP_S)

    def _send(self, fd: int, data: bytes) -> None:
        try:
            sent = self._open[fd].send(data)
        except OSError:
            self._drop(fd)
            return
        if sent < len(data):
            # The responses are smaller than a socket's buffer: this client does not read.
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        sock = self._open.pop(fd, None)
        self._buffers.pop(fd, None)
        if sock is not None:
            sock.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    MockHttp(arguments.host, arguments.port).run()


if __name__ == "__main__":
    main()
