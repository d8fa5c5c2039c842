"""Sending what a step produced: one message per link, whatever the number of its streams.

A text that is complete takes its last pieces along in its answer, which is one message less.

A link that is full for the moment loses nothing: its pieces wait here, in order, and so do the
answers that follow them. A link that stays full is closed, which cancels its requests.
Engine's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import msgspec

from transports.errors import Backpressure, LinkDown
from transports.link import IncomingRequest, Link
from transports.loop import Loop
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

STUCK_S = 10.0
RETRY_S = 0.005

Answer = GenerateDone | Failure


@dataclass(slots=True)
class _Pending:
    pieces: list[tuple[IncomingRequest, TextDelta]] = field(default_factory=list)
    answers: list[tuple[IncomingRequest, Answer]] = field(default_factory=list)
    full_since: float | None = None

    def divided(
        self,
    ) -> tuple[dict[IncomingRequest, list[TextDelta]], list[tuple[IncomingRequest, TextDelta]]]:
        """Return the last pieces of each text that is complete, and the pieces of the others."""
        last: dict[IncomingRequest, list[TextDelta]] = {
            request: [] for request, answer in self.answers if isinstance(answer, GenerateDone)
        }
        others: list[tuple[IncomingRequest, TextDelta]] = []
        for request, delta in self.pieces:
            if request in last:
                last[request].append(delta)
            else:
                others.append((request, delta))
        return last, others


@final
class Publisher:
    """Collects pieces and answers; ``flush`` sends them.

    What was not sent then, since a link was full, is sent later; ``on_sent`` is told when all is.
    """

    def __init__(self, loop: Loop, on_sent: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._on_sent = on_sent
        self._pending: dict[Link, _Pending] = {}
        self._retrying = False

    @property
    def idle(self) -> bool:
        """Whether everything has been handed to its link."""
        return not self._pending

    def piece(self, request: IncomingRequest, delta: TextDelta) -> None:
        """Add a stream's next piece."""
        self._of(request).pieces.append((request, delta))

    def answer(self, request: IncomingRequest, answer: Answer) -> None:
        """Add a request's one answer; it follows the pieces added so far."""
        self._of(request).answers.append((request, answer))

    def flush(self) -> None:
        """Send all that the links have room for."""
        for link in list(self._pending):
            # Taken out first: a link found lost cancels its requests, and that flushes again.
            pending = self._pending.pop(link, None)
            if pending is not None and not self._send(link, pending):
                self._pending[link] = pending
        if self._pending and not self._retrying:
            self._retrying = True
            self._loop.call_later(RETRY_S, self._retry)

    def _of(self, request: IncomingRequest) -> _Pending:
        return self._pending.setdefault(request.link, _Pending())

    def _send(self, link: Link, pending: _Pending) -> bool:
        last, others = pending.divided()
        try:
            if others:
                link.publish(others)
        except Backpressure:
            return self._give_up(link, pending)
        except LinkDown as error:
            _log.debug("not published pieces=%d: %s", len(pending.pieces), error)
        for request, answer in pending.answers:
            if isinstance(answer, Failure):
                request.fail(answer)
            else:
                request.complete(msgspec.structs.replace(answer, last=tuple(last[request])))
        return True

    def _give_up(self, link: Link, pending: _Pending) -> bool:
        now = self._loop.now()
        if pending.full_since is None:
            pending.full_since = now
        if now - pending.full_since < STUCK_S:
            return False
        _log.warning("reader stuck peer=%s pieces=%d", link.peer.name, len(pending.pieces))
        link.close("stuck", f"nothing was read for {STUCK_S:g} s")
        return True

    def _retry(self) -> None:
        self._retrying = False
        self.flush()
        if self.idle:
            self._on_sent()
