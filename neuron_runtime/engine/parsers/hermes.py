"""Calls as Hermes and Qwen write them: ``<tool_call>{"name": ..., "arguments": ...}</tool_call>``.

A block that is no call comes out as content, as it stands. Pure.
"""

from __future__ import annotations

from typing import final

from neuron_runtime.engine.parsers.arriving_text import Reading
from neuron_runtime.engine.parsers.json_reading import CallReader
from neuron_runtime.engine.parsers.reading_parser import ReadingParser

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MARKERS = (OPEN, CLOSE)


@final
class HermesParser(ReadingParser):
    """Finds the blocks wherever they are."""

    def _read(self) -> Reading[None]:
        source = self._source
        call = CallReader(source, self._begin_call, self._arguments)
        unclosed = False
        while (marker := (yield from source.until(MARKERS, self._content))) is not None:
            if marker == CLOSE:
                if unclosed:
                    self._end_call()
                else:
                    self._content(CLOSE)
                unclosed = False
                continue
            source.mark()
            yield from source.skip_space()
            if (yield from call.read()):
                source.unmark()
                unclosed = True
            else:
                source.rewind()
                self._content(OPEN)
