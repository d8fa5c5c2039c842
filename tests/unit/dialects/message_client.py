"""Joins Anthropic's stream as its documentation says, knowing nothing of the encoder."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.dialects.stream_client import Frame


class MessageClient:
    """Raises AssertionError at the first event that a stream must not have."""

    def __init__(self) -> None:
        self.closed = False
        self.signs: list[str] = []
        self.error: dict[str, Any] | None = None
        self._message: dict[str, Any] | None = None
        self._open: int | None = None
        self._json = ""

    def read(self, frame: Frame) -> None:
        """Take the next event."""
        assert not self.closed, "an event after message_stop"
        assert self.error is None, "an event after the error"
        assert frame.name == frame.data["type"]
        match frame.name:
            case "ping":
                pass
            case "error":
                self.error = {**frame.data["error"], "request_id": frame.data["request_id"]}
            case "message_start":
                assert self._message is None, "a second message_start"
                self._message = frame.data["message"]
                assert self._message["content"] == []
                assert self._message["stop_reason"] is None
            case _:
                self._within(frame.name, frame.data)

    def whole(self) -> dict[str, Any]:
        """Return the joined message."""
        assert self._message is not None
        return self._message

    def _within(self, name: str, event: dict[str, Any]) -> None:
        assert self._message is not None, f"{name} before message_start"
        if name == "message_stop":
            self.signs.append(name)
            assert self.signs == ["message_delta", "message_stop"]
            self.closed = True
            return
        assert not self.signs, f"{name} after message_delta"
        match name:
            case "message_delta":
                assert self._open is None, "a block is still open"
                self._message |= event["delta"]
                self._message["usage"] |= event["usage"]
                self.signs.append(name)
            case "content_block_start":
                assert self._open is None, "a second block is opened"
                assert event["index"] == len(self._message["content"])
                self._open, self._json = event["index"], ""
                self._message["content"].append(event["content_block"])
            case "content_block_delta":
                assert event["index"] == self._open, "a delta of a block that is not open"
                self._delta(self._message["content"][-1], event["delta"])
            case "content_block_stop":
                assert event["index"] == self._open, "a block ends that is not open"
                self._stop(self._message["content"][-1])
                self._open = None
            case _:
                raise AssertionError(f"unknown event {name}")

    def _delta(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        match block["type"], delta["type"]:
            case "text", "text_delta":
                block["text"] += delta["text"]
            case "thinking", "thinking_delta":
                assert not block["signature"], "thinking after its signature"
                block["thinking"] += delta["thinking"]
            case "thinking", "signature_delta":
                assert not block["signature"]
                block["signature"] = delta["signature"]
            case "tool_use", "input_json_delta":
                self._json += delta["partial_json"]
            case kinds:
                raise AssertionError(f"a delta of another kind than its block: {kinds}")

    def _stop(self, block: dict[str, Any]) -> None:
        if block["type"] == "thinking":
            assert block["signature"], "thinking without a signature"
        elif block["type"] == "tool_use":
            block["input"] = arguments_of(self._json)


def arguments_of(text: str) -> dict[str, Any]:
    """Return a call's arguments; those that were cut off are not there."""
    try:
        arguments: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return arguments
