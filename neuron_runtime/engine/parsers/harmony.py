"""The channels of GPT-OSS (harmony): analysis is reasoning, final is the answer. Pure.

A message to ``functions.NAME`` is a call. Messages look like
``<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>``;
the prompt has already begun the first with ``<|start|>assistant``.
"""

from __future__ import annotations

import re
from typing import final

from neuron_runtime.engine.parsers.arriving_text import Reading
from neuron_runtime.engine.parsers.pieces import CallArguments, CallBegan, Content, Piece, Reasoning
from neuron_runtime.engine.parsers.reading_parser import ReadingParser

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS)

_TO_FUNCTION = re.compile(r"to=functions\.([^\s<]+)")


@final
class HarmonyParser(ReadingParser):
    """Without ``calls``, a message to a function is content like any other."""

    def __init__(self, *, calls: bool = True) -> None:
        self._calls = calls
        self._inside = False
        super().__init__()

    @property
    def in_reasoning(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._inside

    def _read(self) -> Reading[None]:
        source = self._source
        if not (yield from self._at_header()):
            yield from self._body(Content)  # a model that answers without a header
        while True:
            header: list[str] = []
            end = yield from source.until((MESSAGE, *ENDS), header.append)
            if end is None:
                return
            if end == MESSAGE:
                yield from self._message("".join(header))

    def _at_header(self) -> Reading[bool]:
        source = self._source
        source.mark()
        yield from source.skip_space()
        found = False
        for marker in (CHANNEL, START, "to=", MESSAGE):
            found = found or (yield from source.looking_at(marker))
        source.rewind()
        return found

    def _message(self, header: str) -> Reading[None]:
        function = _TO_FUNCTION.search(header)
        if function is not None and self._calls:
            self._pieces.append(CallBegan(function.group(1)))
            yield from self._call_arguments()
            return
        channel = header.rpartition(CHANNEL)[2].partition(CONSTRAIN)[0].split()
        self._inside = channel[:1] == ["analysis"]
        yield from self._body(Reasoning if self._inside else Content)
        self._inside = False

    def _call_arguments(self) -> Reading[None]:
        """Read to the message's end; a marker within a string is what the string says."""
        string = _OpenString()

        def emit(text: str) -> None:
            string.feed(text)
            self._pieces.append(CallArguments(text))

        end = yield from self._source.until((*ENDS, START), emit)
        while end is not None and string.is_open:
            emit(end)
            end = yield from self._source.until((*ENDS, START), emit)

    def _body(self, kind: type[Content] | type[Reasoning]) -> Reading[None]:
        def emit(text: str) -> None:
            piece: Piece = kind(text)
            self._pieces.append(piece)

        yield from self._source.until((*ENDS, START), emit)


class _OpenString:
    """Whether JSON text so far ends within a string."""

    def __init__(self) -> None:
        self.is_open = False
        self._escaped = False

    def feed(self, text: str) -> None:
        for char in text:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = self.is_open
            elif char == '"':
                self.is_open = not self.is_open
