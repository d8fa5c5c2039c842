"""Reads what a chat completion sends back, as an untrusting client would. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.soak.history import End


@dataclass(slots=True)
class Reading:
    """Everything that has come of one answer so far."""

    text: str = ""
    ends: list[End] = field(default_factory=list)
    finish: str = ""
    counted: int | None = None
    detail: str = ""
    closing: bool = False
    late: bool = False
    pieces: int = 0

    def line(self, line: str) -> None:
        """Take a line of the event stream."""
        if not line.startswith("data: "):
            return
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            self.late |= self.closing
            self.closing = True
            return
        event = json.loads(data)
        if self.closing:
            self.late = True
        elif "error" in event:
            self.error(event)
        else:
            self._chunk(event)

    def error(self, body: dict[str, Any]) -> None:
        """Take an error object."""
        self.ends.append(End.FAILED)
        self.detail = str(body.get("error", {}).get("code"))

    def whole(self, body: dict[str, Any]) -> None:
        """Take a completion in one piece."""
        (choice,) = body["choices"]
        self.text = choice["message"]["content"]
        self._finish(choice["finish_reason"])
        self.counted = body["usage"]["completion_tokens"]

    def left(self) -> None:
        """Note that the client has left, unless the answer was there already."""
        if not self.ends:
            self.ends.append(End.LEFT)

    def cut(self, why: str) -> None:
        """Note that the connection ended, which is only the end if there was no other."""
        if not self.ends or (self.ends == [End.FINISHED] and not self.closing):
            self.ends = [End.CUT]
            self.detail = why

    def _chunk(self, event: dict[str, Any]) -> None:
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            self.late |= bool(self.ends and piece)
            self.text += piece
            self.pieces += bool(piece)
            if choice["finish_reason"] is not None:
                self._finish(choice["finish_reason"])
        if event.get("usage"):
            self.counted = event["usage"]["completion_tokens"]

    def _finish(self, reason: str) -> None:
        self.ends.append(End.FINISHED)
        self.finish = reason
