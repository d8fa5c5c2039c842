"""Asking for Anthropic messages, and reading their streams by the letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, final

from cortex_actors.cli.conformance.case import NotOffered, Unmet, equal, expect, parsed, shaped
from cortex_actors.cli.conformance.event_reader import Event
from cortex_actors.cli.conformance.messages_shapes import (
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    Count,
    ErrorEnvelope,
    InputDelta,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    Stop,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolUse,
)
from cortex_actors.cli.conformance.prompts import SHORT
from cortex_actors.cli.conformance.server import Reply, Server, StreamReply

PATH: Final = "/v1/messages"
COUNT_PATH: Final = "/v1/messages/count_tokens"
_ABSENT: Final = (404, 405, 501)


def request(server: Server, text: str, **fields: Any) -> dict[str, Any]:
    """Return a greedy request for a short answer to ``text``; ``fields`` replace or add."""
    return {
        "model": server.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": SHORT,
        **fields,
    }


def whole(server: Server, body: dict[str, Any]) -> Message:
    """Return the whole message.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no messages.
    """
    reply = server.post(PATH, body)
    _check_good(reply)
    message = shaped(reply.json(), Message, "the message")
    expect(message.stop_reason, "there is no stop_reason")
    return message


def count(server: Server, body: dict[str, Any]) -> int:
    """Return the input tokens of a request as count_tokens has them.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There is no count_tokens.
    """
    counted = {k: v for k, v in body.items() if k not in {"max_tokens", "temperature"}}
    reply = server.post(COUNT_PATH, counted)
    _check_good(reply)
    return shaped(reply.json(), Count, "the count").input_tokens


def refusal(reply: Reply, *statuses: int) -> ErrorEnvelope:
    """Return the error of a response that should be one.

    Raises:
        Unmet: It is none, or not in the envelope.
    """
    wanted = " or ".join(map(str, statuses))
    expect(reply.status in statuses, f"the status is {reply.status}, not {wanted}")
    return shaped(reply.json(), ErrorEnvelope, "the error")


def _check_good(reply: Reply | StreamReply) -> None:
    if reply.status in _ABSENT:
        raise NotOffered(f"HTTP {reply.status}")
    equal(reply.status, 200, f"the status ({reply.content[:120]!r})")


@final
@dataclass(slots=True)
class MessageStream:
    """A stream that kept to the rules, joined."""

    start: Message
    blocks: list[Block] = field(default_factory=list)
    end: Stop | None = None
    output_tokens: int = 0
    pieces: int = 0


def stream(server: Server, body: dict[str, Any]) -> MessageStream:
    """Return the streamed message.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no messages.
    """
    reply = server.stream(PATH, {**body, "stream": True})
    _check_good(reply)
    return read(reply.events)


def read(events: Iterable[Event]) -> MessageStream:
    """Check a stream event by event and join it.

    Raises:
        Unmet: An event is not one or not named as its type, a delta belongs to no open block or is
            of another kind, or the message does not begin and end once.
    """
    typed = [_typed(event) for event in events]
    told = [event for event in typed if not isinstance(event, Ping)]
    expect(told, "no event came")
    first, last = told[0], told[-1]
    if not isinstance(first, MessageStart):
        raise Unmet(f"the first event is {_name(first)}")
    equal(first.message.content, [], "the content of message_start")
    expect(isinstance(last, MessageStop), f"the last event is {_name(last)}")
    reader = _Reader(MessageStream(first.message))
    for event in told[1:-1]:
        reader.take(event)
    expect(reader.open is None, "a block was not stopped")
    expect(reader.stream.end, "there is no message_delta")
    return reader.stream


def _typed(event: Event) -> StreamEvent:
    value = parsed(event.data, "an event")
    kind = value.get("type") if isinstance(value, dict) else None
    equal(event.name, kind, "the name of an event")
    return shaped(value, StreamEvent, f"the event {kind}")  # type: ignore[arg-type]


def _name(event: object) -> str:
    return type(event).__name__


@final
class _Reader:
    """Where a stream is; ``open`` is the block that has begun and not ended."""

    def __init__(self, stream: MessageStream) -> None:
        self.stream = stream
        self.open: Block | None = None
        self._json = ""

    def take(self, event: StreamEvent) -> None:
        expect(self.stream.end is None, f"{_name(event)} comes after the message_delta")
        match event:
            case BlockStart(index, block):
                self._begin(index, block)
            case BlockDelta(index, delta):
                equal(index, len(self.stream.blocks), "the index of a delta")
                self._go_on(delta)
            case BlockStop(index):
                equal(index, len(self.stream.blocks), "the index of a stop")
                self._finish()
            case MessageDelta(end, usage):
                expect(self.open is None, "the message ends within a block")
                self.stream.end, self.stream.output_tokens = end, usage.output_tokens
            case _:
                raise Unmet(f"{_name(event)} comes again")

    def _begin(self, index: int, block: Block) -> None:
        expect(self.open is None, "a block begins within another")
        equal(index, len(self.stream.blocks), "the index of a block")
        self.open, self._json = block, ""
        if isinstance(block, ToolUse):
            equal(block.input, {}, "the input of a block that begins")

    def _go_on(self, delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta) -> None:
        self.stream.pieces += 1
        match self.open, delta:
            case Text(), TextDelta(text):
                self.open.text += text
            case Thinking(), ThinkingDelta(thinking):
                self.open.thinking += thinking
            case Thinking(), SignatureDelta(signature):
                self.open.signature += signature
            case ToolUse(), InputDelta(json):
                self._json += json
            case _:
                raise Unmet(f"a {_name(delta)} comes for {_name(self.open)}")

    def _finish(self) -> None:
        if self.open is None:
            raise Unmet("a block is stopped that has not begun")
        if isinstance(self.open, ToolUse) and self._json:
            self.open.input = parsed(self._json, "the joined input")
        self.stream.blocks.append(self.open)
        self.open = None
