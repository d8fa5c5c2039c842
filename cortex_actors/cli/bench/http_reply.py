"""An HTTP/1.1 response, read piece by piece; pure.

PERF: a general client spends more on a token's chunk than some servers do on the token.
"""

from __future__ import annotations

from typing import final

_MAX_HEAD = 1 << 16
_HEAD_END = b"\r\n\r\n"
_LINE_END = b"\r\n"


@final
class BadReply(Exception):
    """What came is not an HTTP/1.1 response."""

    code = "bad_reply"


@final
class HttpReply:
    """One response; feed it what was read, it gives the body.

    ``status`` is 0 until the head is complete; ``complete`` is set when the body's end was seen.
    """

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self._buffer = b""
        self._chunked = False
        self._remaining: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes that ``data`` brought.

        Raises:
            BadReply: The peer does not speak HTTP/1.1.
        """
        self._buffer += data
        if not self.status and not self._read_head():
            return b""
        return self._read_chunks() if self._chunked else self._read_plain()

    def end(self) -> None:
        """The connection is closed, which ends a body that gave no length."""
        if self.status and not self._chunked and self._remaining is None:
            self.complete = True

    def _read_head(self) -> bool:
        while True:
            head, found, rest = self._buffer.partition(_HEAD_END)
            if not found:
                if len(head) > _MAX_HEAD:
                    raise BadReply("the response's head has no end")
                return False
            self._buffer = rest
            status_line, *headers = head.split(_LINE_END)
            status = _status(status_line)
            if status >= 200:
                break
        self.status = status
        for header in headers:
            name, _, value = header.partition(b":")
            self._note_header(name.strip().lower(), value.strip().lower())
        return True

    def _note_header(self, name: bytes, value: bytes) -> None:
        if name == b"transfer-encoding" and value.endswith(b"chunked"):
            self._chunked = True
        elif name == b"content-length":
            self._remaining = _number(value, 10)

    def _read_plain(self) -> bytes:
        body, self._buffer = self._buffer, b""
        if self._remaining is not None:
            body = body[: self._remaining]
            self._remaining -= len(body)
            self.complete = self._remaining == 0
        return body

    def _read_chunks(self) -> bytes:
        pieces = []
        while not self.complete:
            line, found, rest = self._buffer.partition(_LINE_END)
            if not found:
                break
            size = _number(line.partition(b";")[0].strip(), 16)
            if size == 0:
                self.complete = True
            elif len(rest) < size + len(_LINE_END):
                break
            pieces.append(rest[:size])
            self._buffer = rest[size + len(_LINE_END) :]
        return b"".join(pieces)


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise BadReply(f"not an HTTP/1.1 response: {line[:40]!r}")
    return _number(rest[:3], 10)


def _number(text: bytes, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError as error:
        raise BadReply(f"not a number: {text[:40]!r}") from error
    if number < 0:
        raise BadReply(f"a negative number: {number}")
    return number
