"""Calls as Mistral's models write them. Pure.

Either ``[TOOL_CALLS][{"name": ..., "arguments": ...}, ...]`` or, since 2025, one
``[TOOL_CALLS]name[ARGS]{...}`` after the other.
"""

from __future__ import annotations

from typing import final

from neuron_runtime.engine.parsers.arriving_text import ArrivingText, Reading
from neuron_runtime.engine.parsers.json_reading import CallReader, read_nested
from neuron_runtime.engine.parsers.reading_parser import ReadingParser

OPEN, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
MARKERS = (OPEN, ARGS, CALL_ID)
_NAME_LIMIT = 256


@final
class MistralParser(ReadingParser):
    """Reads both; which it is shows after the marker."""

    def _read(self) -> Reading[None]:
        source = self._source
        while (yield from source.until((OPEN,), self._content)) is not None:
            source.mark()
            yield from source.skip_space()
            if (yield from source.skip("[")):
                found = yield from self._list()
            else:
                found = yield from self._named()
            if found:
                source.unmark()
            else:
                source.rewind()
                self._content(OPEN)

    def _list(self) -> Reading[bool]:
        source = self._source
        call = CallReader(source, self._begin_call, self._arguments)
        found = False
        while True:
            source.mark()
            yield from source.skip_space()
            if found and (yield from source.skip("]")):
                source.unmark()
                return True
            if found:
                yield from source.skip(",")
                yield from source.skip_space()
            if not (yield from call.read()):
                source.rewind()
                return found
            source.unmark()
            found = True

    def _named(self) -> Reading[bool]:
        source = self._source
        name = yield from _name(source)
        if name is None:
            return False
        yield from source.skip_space()
        if not (yield from source.looking_at("{")):
            return False
        self._begin_call(name)
        yield from read_nested(source, self._arguments)
        return True


def _name(source: ArrivingText) -> Reading[str | None]:
    """Read a name up to its arguments; an id between the two is the model's, not the call's."""
    name, in_id = "", False
    while not (yield from source.skip(ARGS)):
        if (yield from source.skip(CALL_ID)):
            in_id = True
            continue
        there = yield from source.available()
        if not there or there[0] in '\n"[]' or len(name) > _NAME_LIMIT:
            return None
        if there[0] == "{":
            break
        if not in_id:
            name += there[0]
        source.consume(1)
    return name.strip() or None
