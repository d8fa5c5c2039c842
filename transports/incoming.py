"""A REQUEST as the answering side holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import msgspec

from transports import codec
from transports.effects import Asked
from transports.envelope import Flags, Kind
from transports.errors import ProtocolError
from transports.failures import FailureCode
from transports.schemas import Body
from transports.schemas.generate import ChunkItem, GenerateDone, TextDelta
from transports.schemas.link import Failure
from transports.text_run import join_runs

if TYPE_CHECKING:
    from transports.channel import Channel

_CHUNK, _RESULT = Kind.CHUNK, Kind.RESULT
_encode_body = codec.encode_body


@final
class Incoming(msgspec.Struct, eq=False):
    """Implements ``transports.link.IncomingRequest``: answered once, from any thread."""

    # PERF: one is made per request; see ``transports.effects``.
    _channel: Channel
    _asked: Asked
    _next_index: int = 0
    _on_cancel: Callable[[str], None] | None = None
    _cancelled: str | None = None

    # SAFETY: a cancellation on the loop's thread may race the registration on the owner's. Held
    # for a few assignments, so one for all of them will do.
    _lock = threading.Lock()

    @property
    def link(self) -> Channel:
        """The link it came over."""
        return self._channel

    @property
    def seq(self) -> int:
        """The REQUEST's sequence number on its link."""
        return self._asked.seq

    @property
    def body(self) -> Body:
        """The decoded question."""
        return self._asked.body

    @property
    def raw(self) -> tuple[bytes, ...]:
        """Raw frames that came with it."""
        return self._asked.raw

    @property
    def deadline(self) -> float | None:
        """When the asker stops waiting, on our clock; None is never."""
        return self._asked.deadline

    @property
    def trace(self) -> int:
        """Request id hash for logs."""
        return self._asked.trace

    def __repr__(self) -> str:
        return f"<Incoming {type(self.body).__name__} seq={self.seq} of {self._channel!r}>"

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        """Have ``callback(reason)`` run once when the answer is no longer wanted."""
        with self._lock:
            reason = self._cancelled
            if reason is None:
                self._on_cancel = callback
        if reason is not None:
            callback(reason)

    def cancel(self, reason: str) -> None:
        """The asker no longer wants the answer, or is gone. Loop thread only."""
        with self._lock:
            if self._cancelled is not None:
                return
            self._cancelled = reason
            callback, self._on_cancel = self._on_cancel, None
        if callback is not None:
            callback(reason)

    def progress(self, body: Body) -> None:
        """Send a Progress event."""
        self._answer(_CHUNK, body, (), 0)

    def complete(self, body: Body, raw: Sequence[bytes] = ()) -> None:
        """Answer with a RESULT; a text's says how many pieces of it there were."""
        if isinstance(body, GenerateDone):
            last = tuple(join_runs(body.last))
            pieces = self._next_index + len(last)
            body = msgspec.structs.replace(body, pieces=pieces, last=last)
        self._answer(_RESULT, body, raw, 0)

    def fail(self, failure: Failure) -> None:
        """Answer with an ERROR."""
        flags = 0 if failure.retry_after_s is None else Flags.RETRYABLE
        self._answer(Kind.ERROR, failure, (), flags)

    def next_item(self, payload: TextDelta) -> ChunkItem:
        """Return ``payload`` as this stream's next piece."""
        index = self._next_index
        self._next_index = index + 1
        return ChunkItem(self._asked.seq, index, payload)

    def _answer(self, kind: Kind, body: Body, raw: Sequence[bytes], flags: int) -> None:
        try:
            payload = _encode_body(body, raw)
        except ProtocolError as ex:
            kind, raw, flags = Kind.ERROR, (), 0
            payload = _encode_body(Failure(FailureCode.INTERNAL, f"answer not sendable: {ex}"))
        self._channel.answer(self._asked.seq, kind, payload, raw, flags)
