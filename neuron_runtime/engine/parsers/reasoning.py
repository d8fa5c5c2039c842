"""Reasoning between tags, as ``<think>...</think>``, apart from the answer. Pure."""

from __future__ import annotations

from typing import final

from neuron_runtime.engine.parsers.arriving_text import ArrivingText, Reading
from neuron_runtime.engine.parsers.pieces import Content, Piece, Reasoning


@final
class ReasoningParser:
    """Tags are never shown, wherever they are; text after an open tag is reasoning up to the end.

    ``opened`` says that the prompt itself has opened the tag. Line breaks next to a tag are layout
    and belong to neither side. A closing tag that nothing opened is dropped.
    """

    def __init__(self, open_tag: str, close_tag: str, *, opened: bool = False) -> None:
        self._open, self._close = open_tag, close_tag
        self._source = ArrivingText()
        self._pieces: list[Piece] = []
        self._breaks = ""
        self._inside = opened
        self._steps = self._read()

    @property
    def in_reasoning(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._inside

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what has become certain."""
        self._source.push(text)
        return self._advance()

    def finish(self) -> list[Piece]:
        """Return what was held back; the output is over."""
        self._source.ended = True
        return self._advance()

    def _advance(self) -> list[Piece]:
        next(self._steps, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _read(self) -> Reading[None]:
        source = self._source
        tags = (self._open, self._close)
        source.mark()
        yield from self._skip_breaks()
        # Some models open what the prompt has opened already.
        if (yield from source.skip(self._open)):
            self._inside = True
            yield from self._skip_breaks()
        elif not self._inside:
            source.rewind()
            source.mark()
        source.unmark()
        while (tag := (yield from source.until(tags, self._text))) is not None:
            if self._inside:
                self._breaks = ""
            self._inside = tag == self._open
            yield from self._skip_breaks()
        self._breaks = ""

    def _skip_breaks(self) -> Reading[None]:
        while (yield from self._source.skip("\n")):
            pass

    def _text(self, text: str) -> None:
        if not self._inside:
            self._pieces.append(Content(text))
            return
        text = self._breaks + text
        shown = text.rstrip("\n")
        self._breaks = text[len(shown) :]
        if shown:
            self._pieces.append(Reasoning(shown))
