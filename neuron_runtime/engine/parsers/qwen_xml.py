"""Calls as Qwen3-Coder writes them: ``<function=name>`` and ``<parameter=key>`` with plain text.

The line break after a parameter's tag and the one before its end are layout; all else between them
is the value, which becomes JSON by the tool's schema. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from neuron_runtime.engine.parsers.argument_types import escaped, is_plain_string, json_of
from neuron_runtime.engine.parsers.arriving_text import Reading
from neuron_runtime.engine.parsers.reading_parser import ReadingParser

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
MARKERS = (OPEN, CLOSE)
_AFTER_VALUE = (PARAMETER, FUNCTION_END, CLOSE)


@final
class QwenXmlParser(ReadingParser):
    """``properties`` are the schemas of each tool's parameters.

    A block without a function in it comes out as content, as it stands. The enclosing
    ``<tool_call>`` may be missing, as some models leave it out.
    """

    def __init__(self, properties: Mapping[str, Mapping[str, Any]]) -> None:
        self._properties = properties
        super().__init__()

    def _read(self) -> Reading[None]:
        source = self._source
        unclosed = False
        starts = (OPEN, FUNCTION, CLOSE)
        while (marker := (yield from source.until(starts, self._content))) is not None:
            if marker == CLOSE:
                if unclosed:
                    self._end_call()
                else:
                    self._content(CLOSE)
                unclosed = False
                continue
            source.mark()
            found = True
            if marker == OPEN:
                yield from source.skip_space()
                found = yield from source.skip(FUNCTION)
            if found and (yield from self._call()):
                source.unmark()
                unclosed = marker == OPEN
            else:
                source.rewind()
                self._content(marker)

    def _call(self) -> Reading[bool]:
        source = self._source
        name = yield from source.word(">")
        if name is None:
            return False
        yield from source.skip_space()
        if (yield from source.skip(FUNCTION_END)):
            self._begin_call(name)
            self._arguments("{}")
            return True
        if not (yield from source.looking_at(PARAMETER)):
            return False
        self._begin_call(name)
        yield from self._parameters(self._properties.get(name, {}))
        return True

    def _parameters(self, schemas: Mapping[str, Any]) -> Reading[None]:
        source = self._source
        before = "{"
        while (yield from source.skip(PARAMETER)):
            key = yield from source.word(">")
            if key is None:
                break
            self._arguments(f'{before}"{escaped(key)}": ')
            before = ", "
            if not (yield from self._value(schemas.get(key))):
                return
            yield from source.skip_space()
        if source.ended and not (yield from source.available()):
            return
        yield from source.skip(FUNCTION_END)
        self._arguments("}" if before == ", " else "{}")

    def _value(self, schema: object) -> Reading[bool]:
        """Report one value; return whether it was complete."""
        if is_plain_string(schema):
            self._arguments('"')
            complete = yield from self._text(lambda text: self._arguments(escaped(text)))
            if complete:
                self._arguments('"')
            return complete
        value: list[str] = []
        complete = yield from self._text(value.append)
        if complete:
            self._arguments(json_of("".join(value), schema))
        return complete

    def _text(self, emit: Any) -> Reading[bool]:
        source = self._source
        yield from source.skip("\n")
        last = "\n" + PARAMETER_END
        while (end := (yield from source.until((last, PARAMETER_END), emit))) is not None:
            source.mark()
            yield from source.skip_space()
            closed = not (yield from source.available())
            for follower in _AFTER_VALUE:
                closed = closed or (yield from source.looking_at(follower))
            source.rewind()
            if closed:
                return True
            emit(end)  # a value that talks about the tags themselves
        return False
