"""A model's engine as a process: it takes memory and time, and says the tokens that are due.

Token k of a request is a function of the two, so whoever reads a stream knows what must come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from tests.simulation.loop import VirtualLoop
from tests.simulation.world import Host, World
from transports.failures import FailureCode
from transports.identity import process_identity
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.generate import Generate, GenerateDone, TextDelta
from transports.schemas.link import Failure

CAPACITY = 4
MOST_OPEN = 8


def token(request_id: str, index: int) -> int:
    """Return the token that is the right one at this place."""
    return (crc32(request_id.encode()) + 7919 * index) % 50_000


def text(tokens: tuple[int, ...]) -> str:
    """Return what these tokens say."""
    return "".join(f"{each} " for each in tokens)


@dataclass(slots=True, eq=False)
class _Stream:
    request: IncomingRequest
    question: Generate
    said: int

    @property
    def total(self) -> int:
        return self.question.sampling.max_tokens or 0

    @property
    def at_end(self) -> bool:
        """Whether the next token, if there is one, is the last."""
        return self.said + 1 >= self.total


class Engine:
    """A ``LinkHandler`` at ``endpoint``; one token of each stream per step."""

    def __init__(
        self,
        world: World,
        host: Host,
        loop: VirtualLoop,
        endpoint: str,
        step_s: float,
        on_load: Callable[[int, int], None],
    ) -> None:
        self.host = host
        self.endpoint = endpoint
        self._world = world
        self._step_s = step_s
        self._on_load = on_load
        self._open: list[_Stream] = []
        self._stepping = False
        self._told = (0, 0)
        self._drained: Callable[[], None] | None = None
        with world.inside(host):
            loop.listen(endpoint, process_identity("engine", host.name), self)
        self._loop = loop

    def drain(self, grace_s: float, drained: Callable[[], None]) -> None:
        """Take nothing new; end what runs after ``grace_s``; then say so."""
        self._drained = drained
        self._loop.call_later(grace_s, self._end_all)
        self._loop.call_soon(self._look)

    # -- links ----------------------------------------------------------------------------------

    def on_up(self, link: Link) -> None:
        """A front end is there."""

    def on_request(self, request: IncomingRequest) -> None:
        """Begin a stream, or say why not."""
        question = request.body
        assert isinstance(question, Generate)
        if self._drained is not None:
            request.fail(Failure(FailureCode.SHUTTING_DOWN, "the engine ends"))
        elif len(self._open) >= MOST_OPEN:
            request.fail(Failure(FailureCode.OVERLOADED, "too many", retry_after_s=1.0))
        else:
            due = tuple(token(question.request_id, k) for k in range(len(question.resume)))
            if question.resume != due:
                self._world.violate(f"{question.request_id} goes on after tokens it never had")
            stream = _Stream(request, question, len(question.resume))
            self._open.append(stream)
            request.on_cancel(lambda reason: self._let_go(stream))
            self._look()

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """Nobody notes anything here."""

    def on_suspect(self, link: Link) -> None:
        """Goes on."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """Its requests have been cancelled one by one."""

    # -- steps ----------------------------------------------------------------------------------

    def _look(self) -> None:
        running = min(len(self._open), CAPACITY)
        load = running, len(self._open) - running
        if load != self._told:
            self._told = load
            self._on_load(*load)
        if self._open and not self._stepping:
            self._stepping = True
            self._loop.call_later(self._step_s * self.host.slowness, self._step)
        if not self._open and self._drained is not None:
            drained, self._drained = self._drained, lambda: None
            drained()

    def _step(self) -> None:
        self._stepping = False
        batch = self._open[:CAPACITY]
        for link in dict.fromkeys(id(each.request.link) for each in batch):
            mine = [each for each in batch if id(each.request.link) == link]
            on = [(each.request, self._next(each)) for each in mine if not each.at_end]
            if on:
                mine[0].request.link.publish(on)
        for stream in [each for each in batch if each.at_end]:
            self._open.remove(stream)
            last = () if stream.said >= stream.total else (self._next(stream),)
            stream.request.complete(GenerateDone("length", 3, stream.total, last=last))
        self._look()

    def _next(self, stream: _Stream) -> TextDelta:
        index = stream.said
        stream.said += 1
        tokens = (token(stream.question.request_id, index),)
        return TextDelta(text(tokens), index, tokens, prompt_tokens=3)

    def _let_go(self, stream: _Stream) -> None:
        if stream in self._open:
            self._open.remove(stream)
            stream.request.fail(Failure(FailureCode.CANCELLED, "no longer wanted"))
            self._look()

    def _end_all(self) -> None:
        for stream in self._open:
            stream.request.fail(Failure(FailureCode.SHUTTING_DOWN, "the engine ends"))
        self._open.clear()
        self._look()
