"""One item of a response's output while it comes, and the events that tell of it; pure.

Events are without ``sequence_number`` and ``output_index``: who numbers items adds them.
"""

from __future__ import annotations

from typing import Any, Protocol, final

from cortex_actors.dialects.responses.custom_input import CustomInput
from cortex_actors.dialects.responses.offered_tools import ToolIdentity

Events = list[dict[str, Any]]


class OutputItem(Protocol):
    """Opened once, then fed, then closed; after that ``whole`` is what clients keep."""

    def open(self) -> Events:
        """Return the events that announce it."""
        ...

    def close(self, status: str) -> Events:
        """Return the events that end it; ``status`` is completed or incomplete."""
        ...

    def whole(self) -> dict[str, Any]:
        """Return the item as it is now."""
        ...


@final
class Message:
    """What the model says: one part of text."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._status = "in_progress"

    def open(self) -> Events:
        """Announce the message and its part."""
        return [_added(self._item([])), self._part("response.content_part.added")]

    def feed(self, text: str, logprobs: list[dict[str, Any]]) -> Events:
        """Add text, which may be empty where only log probabilities came."""
        self._text.append(text)
        self._logprobs += logprobs
        return [self._event("response.output_text.delta", delta=text, logprobs=logprobs)]

    def close(self, status: str) -> Events:
        """End the text, its part and the message."""
        self._status = status
        text = "".join(self._text)
        return [
            self._event("response.output_text.done", text=text, logprobs=self._logprobs),
            self._part("response.content_part.done"),
            _done(self.whole()),
        ]

    def whole(self) -> dict[str, Any]:
        """Return the message."""
        return self._item([self._content()])

    def _item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._id, "type": "message", "role": "assistant"}
        return {**head, "status": self._status, "content": content}

    def _content(self) -> dict[str, Any]:
        text = "".join(self._text)
        head = {"type": "output_text", "text": text, "annotations": []}
        return {**head, "logprobs": list(self._logprobs)}

    def _part(self, kind: str) -> dict[str, Any]:
        return self._event(kind, part=self._content())

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "item_id": self._id, "content_index": 0, **more}


@final
class Reasoning:
    """What the model thinks, as it is: one part of reasoning text, and no summary of it."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        self._text: list[str] = []
        self._status = "in_progress"

    def open(self) -> Events:
        """Announce the item and its part."""
        return [_added(self._item([])), self._part("response.content_part.added")]

    def feed(self, text: str) -> Events:
        """Add text."""
        self._text.append(text)
        return [self._event("response.reasoning_text.delta", delta=text)]

    def close(self, status: str) -> Events:
        """End the text, its part and the item."""
        self._status = status
        return [
            self._event("response.reasoning_text.done", text="".join(self._text)),
            self._part("response.content_part.done"),
            _done(self.whole()),
        ]

    def whole(self) -> dict[str, Any]:
        """Return the item."""
        return self._item([self._content()])

    def _item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._id, "type": "reasoning", "summary": []}
        return {**head, "content": content, "encrypted_content": None, "status": self._status}

    def _content(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": "".join(self._text)}

    def _part(self, kind: str) -> dict[str, Any]:
        return self._event(kind, part=self._content())

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "item_id": self._id, "content_index": 0, **more}


@final
class FunctionCall:
    """A call of a function: its arguments as JSON text."""

    def __init__(self, id_: str, call_id: str, tool: ToolIdentity) -> None:
        self._id = id_
        self._call_id = call_id
        self._tool = tool
        self._arguments: list[str] = []
        self._status = "in_progress"

    def open(self) -> Events:
        """Announce the call."""
        return [_added(self.whole())]

    def feed(self, arguments: str) -> Events:
        """Add a piece of the arguments."""
        if not arguments:
            return []
        self._arguments.append(arguments)
        kind = "response.function_call_arguments.delta"
        return [{"type": kind, "item_id": self._id, "delta": arguments}]

    def close(self, status: str) -> Events:
        """End the arguments and the call."""
        self._status = status
        whole = self.whole()
        end = {
            "type": "response.function_call_arguments.done",
            "item_id": self._id,
            "name": self._tool.name,
            "arguments": whole["arguments"],
        }
        return [end, _done(whole)]

    def whole(self) -> dict[str, Any]:
        """Return the call."""
        return {
            **_call("function_call", self._id, self._call_id, self._tool, self._status),
            "arguments": "".join(self._arguments),
        }


@final
class CustomCall:
    """A call of a custom tool: free text, which the model wrote as arguments."""

    def __init__(self, id_: str, call_id: str, tool: ToolIdentity) -> None:
        self._id = id_
        self._call_id = call_id
        self._tool = tool
        self._decoder = CustomInput()
        self._input: list[str] = []
        self._status = "in_progress"

    def open(self) -> Events:
        """Announce the call."""
        return [_added(self.whole())]

    def feed(self, arguments: str) -> Events:
        """Add a piece of the arguments."""
        return self._more(self._decoder.feed(arguments))

    def close(self, status: str) -> Events:
        """End the input and the call."""
        rest = self._more(self._decoder.finish())
        self._status = status
        whole = self.whole()
        end = {
            "type": "response.custom_tool_call_input.done",
            "item_id": self._id,
            "input": whole["input"],
        }
        return [*rest, end, _done(whole)]

    def whole(self) -> dict[str, Any]:
        """Return the call."""
        return {
            **_call("custom_tool_call", self._id, self._call_id, self._tool, self._status),
            "input": "".join(self._input),
        }

    def _more(self, text: str) -> Events:
        if not text:
            return []
        self._input.append(text)
        kind = "response.custom_tool_call_input.delta"
        return [{"type": kind, "item_id": self._id, "delta": text}]


def _call(kind: str, id_: str, call_id: str, tool: ToolIdentity, status: str) -> dict[str, Any]:
    place = {} if tool.namespace is None else {"namespace": tool.namespace}
    head = {"id": id_, "type": kind, "status": status, "call_id": call_id}
    return {**head, "name": tool.name, **place}


def _added(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item}


def _done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}
