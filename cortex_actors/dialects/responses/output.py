"""The output of one response as it comes: its items in order, one open at a time; pure."""

from __future__ import annotations

from typing import Any, final

from cortex_actors.dialects.events import calls_of
from cortex_actors.dialects.openai.chat_encoder import logprob_of
from cortex_actors.dialects.responses.offered_tools import OfferedTools
from cortex_actors.dialects.responses.output_item import (
    CustomCall,
    Events,
    FunctionCall,
    Message,
    OutputItem,
    Reasoning,
)
from cortex_actors.dialects.responses.response_object import id_of
from transports.schemas.generate import TextDelta, ToolCallDelta


@final
class Output:
    """Feed it deltas, then close it; ``items`` are whole at any time."""

    def __init__(self, request_id: str, tools: OfferedTools) -> None:
        self._request_id = request_id
        self._tools = tools
        self._items: list[OutputItem] = []
        self._open: OutputItem | None = None
        self._call = -1

    @property
    def items(self) -> list[dict[str, Any]]:
        """All items, in the order in which they came."""
        return [item.whole() for item in self._items]

    def feed(self, delta: TextDelta) -> Events:
        """Return the events of the next piece.

        First of the call that goes on, then its reasoning, its text and the calls that begin.
        """
        events: Events = []
        going_on, begun = calls_of(delta)
        for call in going_on:
            events += self._called(call)
        if delta.reasoning:
            events += self._reasoning(delta.reasoning)
        if delta.text:
            events += self._text(delta)
        for call in begun:
            events += self._called(call)
        return events

    def close(self, status: str) -> Events:
        """End the open item, if there is one, with this status."""
        if self._open is None:
            return []
        events = self._numbered(self._open.close(status))
        self._open = None
        return events

    def _reasoning(self, text: str) -> Events:
        if isinstance(self._open, Reasoning):
            return self._numbered(self._open.feed(text))
        item = Reasoning(self._id("rs"))
        opened = self._begin(item)
        return [*opened, *self._numbered(item.feed(text))]

    def _text(self, delta: TextDelta) -> Events:
        logprobs = [logprob_of(each) for each in delta.logprobs]
        if isinstance(self._open, Message):
            return self._numbered(self._open.feed(delta.text, logprobs))
        item = Message(self._id("msg"))
        opened = self._begin(item)
        return [*opened, *self._numbered(item.feed(delta.text, logprobs))]

    def _called(self, call: ToolCallDelta) -> Events:
        item = self._open
        if isinstance(item, FunctionCall | CustomCall) and call.index == self._call:
            return self._numbered(item.feed(call.arguments))
        tool = self._tools.identity(call.name)
        fresh: FunctionCall | CustomCall
        if tool.custom:
            fresh = CustomCall(self._id("ctc"), call.id, tool)
        else:
            fresh = FunctionCall(self._id("fc"), call.id, tool)
        opened = self._begin(fresh)
        self._call = call.index
        return [*opened, *self._numbered(fresh.feed(call.arguments))]

    def _begin(self, item: OutputItem) -> Events:
        closed = self.close("completed")
        self._open = item
        self._items.append(item)
        return [*closed, *self._numbered(item.open())]

    def _numbered(self, events: Events) -> Events:
        return [{**event, "output_index": len(self._items) - 1} for event in events]

    def _id(self, prefix: str) -> str:
        return id_of(prefix, self._request_id, len(self._items))
