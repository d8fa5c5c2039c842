"""A link handler that remembers what it was told, for either end of any kind of link."""

from __future__ import annotations

from collections.abc import Callable

from transports.link import (
    CallEvent,
    Chunk,
    Completed,
    Failed,
    IncomingRequest,
    Link,
    Lost,
    Progress,
)
from transports.schemas import Body
from transports.schemas.group import CacheCleared, ClearCache, LoadShard, Step, StepDone

TERMINAL = (Completed, Failed, Lost)


def answer_by_kind(request: IncomingRequest) -> None:
    """Answer a Step with its own number; leave anything else open."""
    if isinstance(request.body, Step):
        request.complete(StepDone(request.body.step, rank=0))


class Recorder:
    """Remembers everything, in order; safe to read from another thread."""

    def __init__(self, answer: Callable[[IncomingRequest], None] = answer_by_kind) -> None:
        self.answer = answer
        self.links: list[Link] = []
        self.requests: list[IncomingRequest] = []
        self.notes: list[tuple[Body, tuple[bytes, ...]]] = []
        self.cancelled: list[str] = []
        self.suspected: list[Link] = []
        self.downs: list[tuple[str, str]] = []

    @property
    def link(self) -> Link:
        return self.links[-1]

    @property
    def is_up(self) -> bool:
        return bool(self.links)

    @property
    def is_down(self) -> bool:
        return bool(self.downs)

    def on_up(self, link: Link) -> None:
        self.links.append(link)

    def on_request(self, request: IncomingRequest) -> None:
        request.on_cancel(self.cancelled.append)
        self.requests.append(request)
        self.answer(request)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        self.notes.append((body, raw))

    def on_suspect(self, link: Link) -> None:
        self.suspected.append(link)

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.downs.append((reason, detail))


class Events:
    """The events of one call."""

    def __init__(self) -> None:
        self.seen: list[CallEvent] = []

    def __call__(self, event: CallEvent) -> None:
        self.seen.append(event)

    @property
    def is_over(self) -> bool:
        return any(isinstance(event, TERMINAL) for event in self.seen)

    @property
    def terminals(self) -> list[CallEvent]:
        return [event for event in self.seen if isinstance(event, TERMINAL)]

    @property
    def text(self) -> str:
        return "".join(event.payload.text for event in self.seen if isinstance(event, Chunk))

    @property
    def indexes(self) -> list[int]:
        return [event.index for event in self.seen if isinstance(event, Chunk)]

    @property
    def progress(self) -> list[Body]:
        return [event.body for event in self.seen if isinstance(event, Progress)]


def step(number: int) -> Step:
    """A question that ``answer_by_kind`` answers."""
    return Step(number, ())


QUESTION = ClearCache()
ANSWER = CacheCleared(rank=0)
SLOW = LoadShard("/models/m", 0, 1, "cpu", "float32", "", 1)
