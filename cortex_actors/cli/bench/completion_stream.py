"""One streamed completion on a connection of its own; asyncio's thread."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast, final

import msgspec

from cortex_actors.cli.bench.completion_tally import CompletionTally, error_text
from cortex_actors.cli.bench.http_reply import BadReply, HttpReply
from cortex_actors.cli.bench.stream_record import CUT, StreamRecord
from cortex_actors.cli.bench.target import Target
from transports.clock import Clock

_MAX_ERROR = 1 << 16


@final
class CompletionStream(asyncio.Protocol):
    """Sends a request as soon as it is connected and tallies the answer as it comes.

    Errors never raise: they are the record's, because a benchmark counts them.
    """

    def __init__(self, request: bytes, record: StreamRecord, clock: Clock) -> None:
        self.record = record
        self._request = request
        self._clock = clock
        self._reply = HttpReply()
        self._tally = CompletionTally(record)
        self._refusal = b""
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.get_running_loop().create_future()

    @classmethod
    async def run(
        cls, target: Target, request: bytes, record: StreamRecord, clock: Clock
    ) -> StreamRecord:
        """Run one request to its end and return its record; cancelling it cuts the stream."""
        stream = cls(request, record, clock)
        context = ssl.create_default_context() if target.tls else None
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: stream, target.host, target.port, ssl=context
            )
            await stream._ended
        except OSError as error:
            stream._end(f"cannot connect: {error.strerror or error}")
        except asyncio.CancelledError:
            stream._end(CUT)
            raise
        return record

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """asyncio: a read."""
        now = self._clock.now()
        try:
            body = self._reply.feed(data)
        except BadReply as error:
            self._end(str(error))
            return
        if self._reply.status == 200:
            self._tally.feed(body, now)
            if self._reply.complete:
                self._tally.end()
            if self._tally.done:
                self._end()
        else:
            self._refusal = (self._refusal + body)[:_MAX_ERROR]
            if self._reply.complete:
                self._end(self._refused())

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the peer has closed."""
        self._reply.end()
        if self._reply.status not in {0, 200}:
            self._end(self._refused())
        elif exc is not None or not self._reply.complete:
            self._end("the connection was lost")
        else:
            self._tally.end()
            self._end()

    def _refused(self) -> str:
        try:
            answer = msgspec.json.decode(self._refusal)
        except msgspec.DecodeError:
            return f"HTTP {self._reply.status}"
        found = answer.get("error", answer) if isinstance(answer, dict) else answer
        return f"HTTP {self._reply.status}: {error_text(found)}"

    def _end(self, error: str = "") -> None:
        if self.record.ended_at is not None:
            return
        self.record.ended_at = self._clock.now()
        self.record.error = self.record.error or error
        if self._transport is not None:
            self._transport.abort()
        if not self._ended.done():
            self._ended.set_result(None)
