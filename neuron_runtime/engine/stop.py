"""Stop strings, found across token borders and never shown in part. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final


@final
class StopMatcher:
    """Watches one output stream. What it returns is the same whatever the pieces it was given.

    ``which`` is the stop string that ``matched``. Of several stop strings the one that is complete
    first wins; of those complete at the same character, the longest.
    """

    __slots__ = ("_held", "_stops", "matched", "which")

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched = False
        self.which = ""

    def push(self, text: str) -> str:
        """Take more text; return what can no longer be part of a stop string.

        Once ``matched``, the text before the stop has been returned and nothing more ever is.
        """
        if self.matched:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = self._first_match(text)
        if found is not None:
            start, self.which = found
            self.matched = True
            self._held = ""
            return text[:start]
        keep = self._possible_start(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back; the output is over without a match."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> tuple[int, str] | None:
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1:] if found else None

    def _possible_start(self, text: str) -> int:
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
