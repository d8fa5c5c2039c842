"""Asking for Responses, and reading their streams by the letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, final

from cortex_actors.cli.conformance import event_reader
from cortex_actors.cli.conformance.case import NotOffered, Unmet, equal, expect, parsed, shaped
from cortex_actors.cli.conformance.prompts import SHORT
from cortex_actors.cli.conformance.responses_shapes import (
    CallItem,
    Event,
    Item,
    MessageItem,
    OutputText,
    ReasoningItem,
    Response,
)
from cortex_actors.cli.conformance.server import Reply, Server, StreamReply

PATH: Final = "/v1/responses"
_ABSENT: Final = (404, 405, 501)
_TERMINAL: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}


def request(server: Server, asked: Any, **fields: Any) -> dict[str, Any]:
    """Return a greedy request for a short answer to ``asked``; ``fields`` replace or add."""
    return {
        "model": server.model,
        "input": asked,
        "temperature": 0,
        "max_output_tokens": SHORT,
        "store": False,
        **fields,
    }


def whole(server: Server, body: dict[str, Any]) -> Response:
    """Return the whole response.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no Responses.
    """
    reply = server.post(PATH, body)
    _check_good(reply)
    return shaped(reply.json(), Response, "the response")


def _check_good(reply: Reply | StreamReply) -> None:
    if reply.status in _ABSENT:
        raise NotOffered(f"HTTP {reply.status}")
    equal(reply.status, 200, f"the status ({reply.content[:120]!r})")


def text_of(output: Iterable[Item]) -> str:
    """Join all text of the answers."""
    messages = (item for item in output if isinstance(item, MessageItem))
    parts = (part for message in messages for part in message.content)
    return "".join(part.text for part in parts if isinstance(part, OutputText))


def calls_of(output: Iterable[Item]) -> list[CallItem]:
    """Return the calls."""
    return [item for item in output if isinstance(item, CallItem)]


@final
@dataclass(slots=True)
class _Open:
    """An item that has begun: what its deltas make up."""

    item: Item
    text: str = ""
    arguments: str = ""


@final
@dataclass(slots=True)
class ResponseStream:
    """A stream that kept to the rules: its items as they were done, and the last response."""

    response: Response
    created: Response
    numbers: list[int | None]
    items: list[Item] = field(default_factory=list)
    pieces: int = 0


def stream(server: Server, body: dict[str, Any]) -> ResponseStream:
    """Return the streamed response.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no Responses.
    """
    reply = server.stream(PATH, {**body, "stream": True})
    _check_good(reply)
    return read(reply.events)


def read(events: Iterable[event_reader.Event]) -> ResponseStream:
    """Check a stream event by event and join it.

    Raises:
        Unmet: An event is not one, not named as its type; a delta belongs to no
            open item; a done text is not what its deltas make up; the stream does not begin with
            ``response.created`` or end with one terminal event that has all items.
    """
    typed = [_typed(event) for event in events]
    expect(typed, "no event came")
    equal(typed[0].type, "response.created", "the first event")
    last = typed[-1]
    expect(last.type in _TERMINAL, f"the last event is {last.type}")
    if last.response is None:
        raise Unmet(f"{last.type} has no response")
    equal(last.response.status, _TERMINAL[last.type], f"the status of {last.type}")
    if typed[0].response is None:
        raise Unmet("response.created has no response")
    numbers = [event.sequence_number for event in typed]
    reader = _Reader(ResponseStream(last.response, typed[0].response, numbers))
    for event in typed[1:-1]:
        reader.take(event)
    expect(not reader.open, "an item was not done")
    equal(reader.stream.items, last.response.output, "the items that were streamed")
    return reader.stream


def _typed(event: event_reader.Event) -> Event:
    found = shaped(parsed(event.data, "an event"), Event, f"the event {event.name}")
    equal(event.name, found.type, "the name of an event")
    return found


@final
class _Reader:
    """Where a stream is; ``open`` holds the items that have begun, by output_index."""

    def __init__(self, stream: ResponseStream) -> None:
        self.stream = stream
        self.open: dict[int, _Open] = {}

    def take(self, event: Event) -> None:
        expect(event.type not in _TERMINAL, f"{event.type} is not the last event")
        match event.type:
            case "response.output_item.added":
                self._begin(event)
            case "response.output_item.done":
                self._finish(event)
            case "response.output_text.delta":
                self.stream.pieces += 1
                self._of(event).text += event.delta or ""
            case "response.output_text.done":
                equal(event.text, self._of(event).text, "the done text")
            case "response.function_call_arguments.delta":
                self._of(event).arguments += event.delta or ""
            case "response.function_call_arguments.done":
                equal(event.arguments, self._of(event).arguments, "the done arguments")
            case _:
                pass

    def _begin(self, event: Event) -> None:
        if event.item is None or event.output_index is None:
            raise Unmet("an item was added without item or output_index")
        equal(event.output_index, len(self.stream.items) + len(self.open), "output_index")
        self.open[event.output_index] = _Open(event.item)

    def _of(self, event: Event) -> _Open:
        found = self.open.get(-1 if event.output_index is None else event.output_index)
        if found is None:
            raise Unmet(f"{event.type} belongs to no open item")
        equal(event.item_id, found.item.id, "item_id")
        return found

    def _finish(self, event: Event) -> None:
        found = self.open.pop(-1 if event.output_index is None else event.output_index, None)
        if found is None or event.item is None:
            raise Unmet("an item is done that has not begun")
        equal(event.item.id, found.item.id, "the id of a done item")
        match event.item:
            case MessageItem():
                equal(text_of([event.item]), found.text, "a done message's text")
            case CallItem():
                equal(event.item.arguments, found.arguments, "a done call's arguments")
            case ReasoningItem():
                pass
        self.stream.items.append(event.item)
