"""Joins a Responses stream the way a client does, knowing nothing of the encoder."""

from __future__ import annotations

from typing import Any

from tests.unit.dialects.stream_client import Frame

_GOOD = {"response.completed", "response.incomplete"}
TERMINAL = _GOOD | {"response.failed"}


class ResponseClient:
    """Raises AssertionError at the first event that a stream must not have."""

    def __init__(self) -> None:
        self.closed = False
        self.signs: list[str] = []
        self.error: dict[str, Any] | None = None
        self.items: list[dict[str, Any]] = []
        self.final: dict[str, Any] | None = None
        self._open: set[int] = set()
        self._parts: set[int] = set()
        self._next = 0

    def read(self, frame: Frame) -> None:
        """Take the next event."""
        assert frame.name == frame.data["type"]
        self.take(frame.data)

    def whole(self) -> dict[str, Any]:
        """Return the last event's response with the output that the others add up to."""
        assert self.final is not None
        return {**self.final, "output": self.items}

    def take(self, event: dict[str, Any]) -> None:
        """Take the next event's object."""
        assert event["sequence_number"] == self._next
        self._next += 1
        assert self.final is None, "an event after the last"
        kind = event["type"]
        if self._next <= 2:
            assert kind == ("response.created", "response.in_progress")[self._next - 1]
        if kind in TERMINAL:
            self._end(kind, event["response"])
        elif kind in {"response.created", "response.in_progress"}:
            assert event["response"]["status"] == "in_progress"
            assert not self.items, "an open response that has output denies it"
        elif kind == "response.output_item.added":
            self._added(event)
        else:
            self._within(kind, event)

    def _end(self, kind: str, response: dict[str, Any]) -> None:
        assert not self._open, "an item is still open"
        assert f"response.{response['status']}" == kind
        assert response["output"] == self.items, "the last output is not what was streamed"
        self.final, self.closed = response, kind in _GOOD
        self.error = response["error"]
        if self.closed:
            self.signs.append(kind)

    def _added(self, event: dict[str, Any]) -> None:
        assert event["output_index"] == len(self.items)
        item = event["item"]
        assert item["status"] == "in_progress"
        self.items.append({**item, "content": []} if "content" in item else dict(item))
        self._open.add(event["output_index"])

    def _within(self, kind: str, event: dict[str, Any]) -> None:
        index = event["output_index"]
        assert index in self._open, "a delta of an item that is not open"
        item = self.items[index]
        if kind == "response.output_item.done":
            assert index not in self._parts, "a part is still open"
            assert event["item"]["status"] != "in_progress"
            item["status"] = event["item"]["status"]
            assert event["item"] == item
            self._open.remove(index)
            return
        assert event["item_id"] == item["id"]
        match kind:
            case "response.content_part.added":
                item["content"].append(event["part"])
                self._parts.add(index)
            case "response.content_part.done":
                assert event["part"] == item["content"][-1]
                assert index in self._parts, "a part ends that is not open"
                self._parts.remove(index)
            case "response.output_text.delta" | "response.reasoning_text.delta":
                self._text(event, index)
            case "response.output_text.done" | "response.reasoning_text.done":
                assert event["text"] == item["content"][-1]["text"]
            case "response.function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "response.function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
            case "response.custom_tool_call_input.delta":
                item["input"] += event["delta"]
            case "response.custom_tool_call_input.done":
                assert event["input"] == item["input"]
            case _:
                raise AssertionError(f"unknown event {kind}")

    def _text(self, event: dict[str, Any], index: int) -> None:
        assert index in self._parts, "a delta of a part that is not open"
        content = self.items[index]["content"]
        part = content[event["content_index"]]
        joined = {**part, "text": part["text"] + event["delta"]}
        if "logprobs" in part:
            joined["logprobs"] = [*part["logprobs"], *event["logprobs"]]
        content[event["content_index"]] = joined
