"""Calls as Llama 3 writes them: the output is ``{"name": ..., "parameters": ...}``. Pure.

Several are separated by semicolons. After ``<|python_tag|>`` a call may come anywhere; without it
only at the start, and only by a name that the request offers, so that other JSON stays an answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from neuron_runtime.engine.parsers.arriving_text import Reading
from neuron_runtime.engine.parsers.json_reading import CallReader
from neuron_runtime.engine.parsers.reading_parser import ReadingParser

TAG = "<|python_tag|>"
MARKERS = (TAG,)


@final
class LlamaJsonParser(ReadingParser):
    """``names`` are the tools that the request offers."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        super().__init__()

    def _read(self) -> Reading[None]:
        source = self._source
        source.mark()
        yield from source.skip_space()
        if (yield from source.looking_at("{")) and (yield from self._calls()):
            source.unmark()
        else:
            source.rewind()
        while (yield from source.until(MARKERS, self._content)) is not None:
            source.mark()
            yield from source.skip_space()
            if (yield from self._calls()):
                source.unmark()
            else:
                source.rewind()
                self._content(TAG)

    def _calls(self) -> Reading[bool]:
        source = self._source
        call = CallReader(
            source, self._begin_call, self._arguments, self._names.__contains__, exact=True
        )
        found = False
        while True:
            source.mark()
            if found:
                yield from source.skip_space()
                yield from source.skip(";")
                yield from source.skip_space()
            if not (yield from call.read()):
                source.rewind()
                return found
            source.unmark()
            found = True
