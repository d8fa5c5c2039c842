"""Reads a stream of server-sent events as a client does, whatever its dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Protocol

DONE: Final = "[DONE]"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: its name, if it has one, and its data: an object, or the text ``[DONE]``."""

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked of its stream."""

    choices: int = 1
    usage: bool = True


class StreamClient(Protocol):
    """Raises AssertionError at the first event that the dialect does not allow there.

    ``closed`` once the stream said that all is there; ``signs`` are whatever a client might take
    for an end of a good answer; ``error`` is the dialect's own object.
    """

    closed: bool
    signs: list[str]
    error: dict[str, Any] | None

    def read(self, frame: Frame) -> None:
        """Take the next event."""
        ...

    def whole(self) -> dict[str, Any]:
        """Return what the events add up to."""
        ...


def frames(body: bytes) -> list[Frame]:
    """Return the events of a body; comments are none."""
    *blocks, rest = body.decode().split("\n\n")
    assert rest == "", "an event that does not end"
    return [_frame(block) for block in blocks if not block.startswith(":")]


def _frame(block: str) -> Frame:
    *before, data = block.split("\n")
    assert len(before) <= 1
    assert data.startswith("data: ")
    name = before[0].removeprefix("event: ") if before else ""
    text = data.removeprefix("data: ")
    return Frame(name, text if text == DONE else json.loads(text))
