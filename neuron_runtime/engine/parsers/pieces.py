"""What a parser makes of a model's output, in order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model wrote for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A tool call whose name is certain; its arguments follow."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next piece of the last call's arguments, which joined are JSON text."""

    text: str


Piece = Content | Reasoning | CallBegan | CallArguments


class OutputParser(Protocol):
    """One output's parser. The joined pieces are the same whatever the pieces of the text."""

    @property
    def in_reasoning(self) -> bool:
        """Whether what comes next is reasoning."""
        ...

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what has become certain."""
        ...

    def finish(self) -> list[Piece]:
        """Return what was held back; the output is over."""
        ...
