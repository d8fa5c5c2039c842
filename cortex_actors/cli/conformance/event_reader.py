"""Server-sent events as the standard has clients read them (WHATWG HTML, section 9.2); pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is empty where the server gave none."""

    name: str
    data: str


@final
class EventReader:
    """Feed it lines without their ends."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []
        self.comments = 0

    def line(self, line: str) -> Event | None:
        """Take a line; return the event that it completes."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments += 1
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case _:
                pass
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._name, "\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event
