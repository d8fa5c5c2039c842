"""Asking for chat completions, and reading their streams by the letter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, final

from cortex_actors.cli.conformance.case import NotOffered, equal, expect, parsed, shaped
from cortex_actors.cli.conformance.chat_shapes import Chunk, Completion, ErrorEnvelope
from cortex_actors.cli.conformance.event_reader import Event
from cortex_actors.cli.conformance.prompts import SHORT
from cortex_actors.cli.conformance.server import Reply, Server, StreamReply

PATH: Final = "/v1/chat/completions"
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


def whole(server: Server, body: dict[str, Any]) -> Completion:
    """Return the whole answer.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no chat completions.
    """
    reply = server.post(PATH, body)
    check_offered(reply)
    equal(reply.status, 200, f"the status ({reply.content[:120]!r})")
    return shaped(reply.json(), Completion, "the response")


def check_offered(reply: Reply | StreamReply) -> None:
    """Go on if the route is there.

    Raises:
        NotOffered: It is not.
    """
    if reply.status in _ABSENT:
        raise NotOffered(f"HTTP {reply.status}")


def refusal(reply: Reply, *statuses: int) -> ErrorEnvelope:
    """Return the error of a response that should be one.

    Raises:
        Unmet: It is none, or not in the envelope.
    """
    wanted = " or ".join(map(str, statuses))
    expect(reply.status in statuses, f"the status is {reply.status}, not {wanted}")
    return shaped(reply.json(), ErrorEnvelope, "the error")


@final
@dataclass(slots=True)
class Call:
    """A call as its pieces make it up."""

    id: str
    name: str
    arguments: str = ""


@final
@dataclass(slots=True)
class Joined:
    """One choice of a stream, joined."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    finish_reason: str | None = None


@final
@dataclass(frozen=True, slots=True)
class ChatStream:
    """A stream that kept to the rules."""

    chunks: list[Chunk]
    choices: list[Joined]

    @property
    def only(self) -> Joined:
        """The only choice.

        Raises:
            Unmet: There is another number of them.
        """
        equal(len(self.choices), 1, "the number of choices")
        return self.choices[0]


def stream(server: Server, body: dict[str, Any]) -> ChatStream:
    """Return the streamed answer.

    Raises:
        Unmet: It is refused or not as it should be.
        NotOffered: There are no chat completions.
    """
    reply = server.stream(PATH, {**body, "stream": True})
    check_offered(reply)
    equal(reply.status, 200, f"the status ({reply.content[:120]!r})")
    expect(reply.events, f"no event came, but {reply.content[:60]!r}")
    return read(reply.events, choices=body.get("n", 1))


def read(events: Iterable[Event], choices: int = 1) -> ChatStream:
    """Check a stream event by event and join it.

    Raises:
        Unmet: A chunk is not one, the chunks are not of one response, a choice does not end or
            goes on after its end, or ``[DONE]`` is not the one last event.
    """
    *pieces, last = list(events)
    equal(last.data, "[DONE]", "the last event")
    chunks = [shaped(parsed(event.data, "an event"), Chunk, "a chunk") for event in pieces]
    ids = {chunk.id for chunk in chunks}
    expect(len(ids) == 1, f"the chunks have {len(ids)} ids")
    joined = [Joined() for _ in range(choices)]
    for chunk in chunks:
        _take(chunk, joined)
    for index, choice in enumerate(joined):
        expect(choice.finish_reason, f"choice {index} has no finish_reason")
    return ChatStream(chunks, joined)


def _take(chunk: Chunk, joined: list[Joined]) -> None:
    for piece in chunk.choices:
        expect(piece.index < len(joined), f"there is a choice {piece.index}")
        choice = joined[piece.index]
        expect(choice.finish_reason is None, "a chunk comes after the finish_reason")
        choice.text += piece.delta.content or ""
        for call in piece.delta.tool_calls or ():
            function = call.function
            if call.index == len(choice.calls):
                expect(call.id and function and function.name, "a call begins without id or name")
                choice.calls.append(Call(call.id or "", (function and function.name) or ""))
            expect(call.index < len(choice.calls), f"call {call.index} comes too early")
            choice.calls[call.index].arguments += (function and function.arguments) or ""
        choice.finish_reason = piece.finish_reason
