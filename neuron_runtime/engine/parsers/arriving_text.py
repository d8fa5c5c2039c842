"""Text that is read while it arrives. Pure.

Readers are generators: they yield where the text so far does not decide how to go on, and are
resumed when there is more. What a reader does therefore depends on the text alone, never on the
pieces in which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar, final

T = TypeVar("T")
Reading = Generator[None, None, T]

SPACE = " \t\r\n"


@final
class ArrivingText:
    """A cursor over the text; what lies before it and before every mark is forgotten."""

    __slots__ = ("_at", "_marks", "_text", "ended")

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._marks: list[int | None] = []
        self.ended = False

    def push(self, text: str) -> None:
        """Append ``text``."""
        cut = min([self._at, *(mark for mark in self._marks if mark is not None)])
        self._text = self._text[cut:] + text
        self._at -= cut
        self._marks = [None if mark is None else mark - cut for mark in self._marks]

    def mark(self) -> None:
        """Remember this place until ``rewind`` or ``unmark``; marks nest."""
        self._marks.append(self._at)

    def rewind(self) -> None:
        """Go back to the last mark and take it away.

        Raises:
            ValueError: It was released.
        """
        mark = self._marks.pop()
        if mark is None:
            raise ValueError("the text at this mark was released")
        self._at = mark

    def unmark(self) -> None:
        """Take the last mark away."""
        self._marks.pop()

    def release(self) -> None:
        """Let the text at all marks be forgotten: there is no way back any more."""
        self._marks = [None] * len(self._marks)

    def available(self) -> Reading[str]:
        """Return all that is there, at least one character; empty at the end."""
        while self._at == len(self._text) and not self.ended:
            yield
        return self._text[self._at :]

    def consume(self, count: int) -> None:
        """Move past ``count`` characters that are there."""
        self._at += count

    def looking_at(self, marker: str) -> Reading[bool]:
        """Return whether ``marker`` is next."""
        while True:
            seen = self._text[self._at : self._at + len(marker)]
            if seen == marker:
                return True
            if self.ended or not marker.startswith(seen):
                return False
            yield

    def skip(self, marker: str) -> Reading[bool]:
        """Move past ``marker`` if it is next; return whether it was."""
        found = yield from self.looking_at(marker)
        if found:
            self._at += len(marker)
        return found

    def skip_space(self) -> Reading[None]:
        """Move past white space."""
        while True:
            there = yield from self.available()
            self._at += len(there) - len(there.lstrip(SPACE))
            if not there or there.lstrip(SPACE):
                return

    def until(self, markers: Sequence[str], emit: Callable[[str], None]) -> Reading[str | None]:
        """Emit the text before the first of ``markers`` and move past both.

        Returns the marker, or None at the end of the text.
        """
        while True:
            there = self._text[self._at :]
            undecided = len(there) if self.ended else _possible_start(there, markers)
            found = _first(there, markers)
            if found is not None and found[0] <= undecided:
                at, marker = found
                self._pass_on(at, emit)
                self._at += len(marker)
                return marker
            self._pass_on(undecided, emit)
            if self.ended:
                return None
            yield

    def word(self, end: str, limit: int = 256) -> Reading[str | None]:
        """Move past a word and its ``end``; None if there is no such word on this line."""
        word = ""
        while not (yield from self.skip(end)):
            there = yield from self.available()
            if not there or there[0] == "\n" or len(word) == limit:
                return None
            word += there[0]
            self._at += 1
        return word.strip() or None

    def _pass_on(self, count: int, emit: Callable[[str], None]) -> None:
        if count:
            emit(self._text[self._at : self._at + count])
            self._at += count


def _first(text: str, markers: Sequence[str]) -> tuple[int, str] | None:
    found = [(at, marker) for marker in markers if (at := text.find(marker)) >= 0]
    return min(found, default=None, key=lambda each: (each[0], -len(each[1])))


def _possible_start(text: str, markers: Sequence[str]) -> int:
    """Return where a marker may begin that is not complete yet; the length if nowhere."""
    longest = max(len(marker) for marker in markers) - 1
    for at in range(max(0, len(text) - longest), len(text)):
        tail = text[at:]
        if any(len(marker) > len(tail) and marker.startswith(tail) for marker in markers):
            return at
    return len(text)
