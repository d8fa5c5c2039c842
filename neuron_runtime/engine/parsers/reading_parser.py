"""The base of the parsers: a reader of arriving text that leaves pieces behind. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod

from neuron_runtime.engine.parsers.arriving_text import SPACE, ArrivingText, Reading
from neuron_runtime.engine.parsers.pieces import CallArguments, CallBegan, Content, Piece


class ReadingParser(ABC):
    """A parser written as one reader, which subclasses provide.

    White space before a call that nothing else precedes, and between and after calls, is layout;
    it is dropped.
    """

    def __init__(self) -> None:
        self._source = ArrivingText()
        self._pieces: list[Piece] = []
        self._layout = ""
        self._in_layout = True
        self._called = False
        self._steps = self._read()

    @property
    def in_reasoning(self) -> bool:
        """Whether what comes next is reasoning."""
        return False

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what has become certain."""
        self._source.push(text)
        return self._advance()

    def finish(self) -> list[Piece]:
        """Return what was held back; the output is over."""
        self._source.ended = True
        pieces = self._advance()
        if self._layout and not self._called:
            pieces.append(Content(self._layout))
        return pieces

    @abstractmethod
    def _read(self) -> Reading[None]:
        """Read the whole output."""

    def _advance(self) -> list[Piece]:
        next(self._steps, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _content(self, text: str) -> None:
        if self._in_layout:
            self._layout += text
            if not self._layout.strip(SPACE):
                return
            text, self._layout, self._in_layout = self._layout, "", False
        self._pieces.append(Content(text))

    def _begin_call(self, name: str) -> None:
        # From here on it is a call, however it ends; a long one must not be kept for going back.
        self._source.release()
        self._layout, self._in_layout, self._called = "", True, True
        self._pieces.append(CallBegan(name))

    def _end_call(self) -> None:
        self._layout = ""

    def _arguments(self, text: str) -> None:
        self._pieces.append(CallArguments(text))
