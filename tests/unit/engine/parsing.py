"""What a stream of pieces adds up to, and ways to cut a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from neuron_runtime.engine.parsers.pieces import (
    CallArguments,
    CallBegan,
    Content,
    OutputParser,
    Piece,
    Reasoning,
)


@dataclass
class Parsed:
    """The sums, by kind; each call is its name and its arguments."""

    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Content(text):
                    self.content += text
                case Reasoning(text):
                    self.reasoning += text
                case CallBegan(name):
                    self.calls.append((name, ""))
                case CallArguments(text):
                    name, arguments = self.calls[-1]
                    self.calls[-1] = (name, arguments + text)


def parse(parser: OutputParser, texts: Iterable[str]) -> Parsed:
    parsed = Parsed()
    for text in texts:
        parsed.add(parser.push(text))
    parsed.add(parser.finish())
    return parsed


def cut(text: str, borders: Iterable[int]) -> list[str]:
    points = sorted({0, len(text), *(border % (len(text) + 1) for border in borders)})
    return [text[start:end] for start, end in pairwise(points)]
