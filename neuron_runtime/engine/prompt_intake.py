"""Questions on their way to be prompts: long ones are prepared on another thread.

Tokens take time, about a second for each million characters, and so does a grammar: up to six
seconds for one as large as its compiler takes. The engine's thread has steps to send and pings to
answer. A short question stays on it: changing threads would cost more. Both ways go through the
same ``make``, so what comes of a question does not depend on the way.

Templates, tokenizers and grammars may serve two threads at once: jinja2 makes a context for each
rendering and keeps nothing, the tokenizers library only reads (what it refuses, "Already borrowed",
is to change padding or truncation meanwhile, which nobody does here), and a compiled grammar is
only copied. None keeps the interpreter to itself for long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

from neuron_runtime.engine.expiry import Expiry
from neuron_runtime.engine.longest_line_drop import GIVES_WAY
from neuron_runtime.engine.other_thread import OtherThread, Start, start_thread
from neuron_runtime.engine.prepared import Prepared
from neuron_runtime.engine.prompt_queue import PromptQueue
from neuron_runtime.engine.refused import Refused
from neuron_runtime.engine.tokenizer import LONG_CHARACTERS
from transports.failures import FailureCode
from transports.link import IncomingRequest
from transports.loop import Loop
from transports.schemas.generate import Generate
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

Made = Prepared | int
"""What is needed to go on, or how many tokens the prompt has if only that was asked."""

Check = Callable[[Generate], int]
Make = Callable[[Generate], Made]
OnReady = Callable[[IncomingRequest, Made | Failure, float], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    request: IncomingRequest
    question: Generate
    make: Make
    arrived: float


@final
class PromptIntake:
    """Calls ``on_ready`` once for each question: with what was made, or why there is nothing.

    And with the monotonic second in which it arrived. Engine's thread only; at most one other
    thread lives at a time, as long as a long prompt is being made.

    Args:
        check: Returns how many characters a question has, or refuses it. Engine's thread.
        on_change: Called soon after ``waiting`` has changed.
        start: Does something on another thread.
    """

    def __init__(
        self,
        loop: Loop,
        queue: PromptQueue,
        check: Check,
        on_ready: OnReady,
        on_change: Callable[[], None],
        start: Start = start_thread,
    ) -> None:
        self._loop = loop
        self._queue = queue
        self._check = check
        self._on_ready = on_ready
        self._on_change = on_change
        self._thread: OtherThread[Made] = OtherThread(
            loop, "prompt", "the prompt could not be made", start
        )
        self._entries: dict[int, _Entry] = {}
        self._last = 0
        self._expiry = Expiry(loop, queue.next_deadline, self._expire)

    @property
    def waiting(self) -> int:
        """How many questions are not ready."""
        return len(self._entries)

    def expected(self, principal: str) -> int:
        """How many sequences of a principal may come of what is not ready."""
        entries = self._entries.values()
        asked = (each.request.body for each in entries if each.question.principal == principal)
        return sum(question.n for question in asked if isinstance(question, Generate))

    def take(self, request: IncomingRequest, question: Generate, make: Make) -> None:
        """Begin with a question; a short one is ready at once.

        ``make`` prepares it, or refuses it, on any thread.
        """
        now = self._loop.now()
        try:
            characters = self._check(question)
            made = make(question) if characters <= LONG_CHARACTERS else None
        except Refused as refused:
            self._on_ready(request, refused.failure, now)
            return
        if made is not None:
            self._on_ready(request, made, now)
            return
        for loser in self._queue.make_way(characters, question.principal):
            self._end(loser, self._queue.overloaded(GIVES_WAY))
        self._last += 1
        number = self._last
        refusal = self._queue.add(number, characters, question.principal, request.deadline)
        if refusal is not None:
            self._on_ready(request, refusal, now)
            return
        self._entries[number] = _Entry(request, question, make, now)
        self._loop.call_soon(self._on_change)
        request.on_cancel(partial(self._cancel, number))
        self._expiry.arm()
        self._work()

    def end_all(self, failure: Failure) -> None:
        """Refuse all that is not ready."""
        for number in self._queue.end_all():
            self._end(number, failure)

    def _cancel(self, number: int, reason: str) -> None:
        if self._queue.end(number):
            message = f"the request was cancelled ({reason or 'asked'})"
            self._end(number, Failure(FailureCode.CANCELLED, message))

    def _expire(self) -> None:
        message = "the request was not finished in time"
        for number in self._queue.expire(self._loop.now()):
            self._end(number, Failure(FailureCode.DEADLINE_EXCEEDED, message))
        self._expiry.arm()

    def _work(self) -> None:
        number = self._queue.next()
        if number is None:
            return
        entry = self._entries[number]
        self._thread.run(
            partial(entry.make, entry.question),
            partial(self._made, number),
            entry.question.request_id,
        )

    def _made(self, number: int, made: Made | Failure) -> None:
        if self._queue.made():
            self._end(number, made)
        self._work()

    def _end(self, number: int, end: Made | Failure) -> None:
        entry = self._entries.pop(number)
        self._loop.call_soon(self._on_change)
        try:
            self._on_ready(entry.request, end, entry.arrived)
        except Exception:  # noqa: BLE001 -- its asker hears of it, as if a link had called
            _log.exception("request failed request=%s", entry.question.request_id)
            entry.request.fail(Failure(FailureCode.INTERNAL, "the request could not be handled"))
