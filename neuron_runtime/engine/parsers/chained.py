"""Reasoning first, then calls in what is not reasoning. Pure."""

from __future__ import annotations

from typing import final

from neuron_runtime.engine.parsers.pieces import Content, OutputParser, Piece


@final
class ChainedParser:
    """Gives the content that ``first`` finds to ``second``."""

    def __init__(self, first: OutputParser, second: OutputParser) -> None:
        self._first = first
        self._second = second

    @property
    def in_reasoning(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._first.in_reasoning

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what has become certain."""
        return self._passed_on(self._first.push(text))

    def finish(self) -> list[Piece]:
        """Return what was held back; the output is over."""
        return [*self._passed_on(self._first.finish()), *self._second.finish()]

    def _passed_on(self, pieces: list[Piece]) -> list[Piece]:
        passed: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Content):
                passed += self._second.push(piece.text)
            else:
                passed.append(piece)
        return passed
