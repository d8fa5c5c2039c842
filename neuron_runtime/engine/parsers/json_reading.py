"""JSON read character by character while it arrives. Pure.

Only as strict as finding the end of a value needs; what is inside goes on as the model wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from neuron_runtime.engine.parsers.arriving_text import SPACE, ArrivingText, Reading
from neuron_runtime.engine.surrogates import without_lone_surrogates

NAME_KEYS = ("name",)
ARGUMENT_KEYS = ("arguments", "parameters")
_OTHER_KEYS = ("type", "id")

_Emit = Callable[[str], None]


def read_string(source: ArrivingText) -> Reading[str | None]:
    """Return the string that is next; None if there is none or it does not end."""
    raw: list[str] = []
    if not (yield from source.looking_at('"')):
        return None
    complete = yield from _scan(source, raw.append)
    if not complete:
        return None
    try:
        value = json.loads("".join(raw), strict=False)
    except (ValueError, RecursionError):
        return None
    return without_lone_surrogates(value) if isinstance(value, str) else None


def read_nested(source: ArrivingText, emit: _Emit) -> Reading[bool]:
    """Emit the object or list that is next, as it stands; return whether it was complete."""
    return (yield from _scan(source, emit))


def _scan(source: ArrivingText, emit: _Emit) -> Reading[bool]:
    depth, quoted, escaped = 0, False, False
    while True:
        there = yield from source.available()
        if not there:
            return False
        for at, char in enumerate(there):
            if escaped:
                escaped = False
            elif quoted:
                escaped = char == "\\"
                quoted = char != '"'
            elif char == '"':
                quoted = True
            elif char in "{[":
                depth += 1
            elif char in "}]":
                depth -= 1
            if depth == 0 and not quoted:
                emit(there[: at + 1])
                source.consume(at + 1)
                return True
        emit(there)
        source.consume(len(there))


def _read_scalar(source: ArrivingText) -> Reading[str]:
    text = ""
    while True:
        there = yield from source.available()
        if not there or there[0] in ",}]" + SPACE:
            return text
        text += there[0]
        source.consume(1)


@dataclass(slots=True)
class CallReader:
    """Reads ``{"name": ..., "arguments": {...}}``, its keys in any order, and reports the call.

    ``begin`` is told a name as soon as it is certain that a call by that name is being made, and
    ``arguments`` their text. A name that ``accepts`` refuses makes it no call; so do other keys
    when ``exact``.
    """

    source: ArrivingText
    begin: _Emit
    arguments: _Emit
    accepts: Callable[[str], bool] = bool
    exact: bool = False
    _name: str | None = field(default=None, init=False)
    _held: list[str] | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)

    def read(self) -> Reading[bool]:
        """Return whether this was a call, be it one that breaks off in its arguments.

        If not, nothing was reported.
        """
        self._forget()
        complete = yield from self._read_members()
        if complete and self._name is not None and not self._begun:
            self._report("{}")
        return self._begun

    def _forget(self) -> None:
        self._name, self._held, self._begun = None, None, False

    def _read_members(self) -> Reading[bool]:
        source = self.source
        if not (yield from source.skip("{")):
            return False
        while True:
            yield from source.skip_space()
            key = yield from read_string(source)
            if key is None:
                return False
            yield from source.skip_space()
            if not (yield from source.skip(":")):
                return False
            yield from source.skip_space()
            if not (yield from self._read_member(key)):
                return False
            yield from source.skip_space()
            if (yield from source.skip("}")):
                return True
            if not (yield from source.skip(",")):
                return False

    def _read_member(self, key: str) -> Reading[bool]:
        if key in NAME_KEYS and self._name is None:
            return (yield from self._read_name())
        if key in ARGUMENT_KEYS and self._held is None and not self._begun:
            return (yield from self._read_arguments())
        if self.exact and key not in _OTHER_KEYS:
            return False
        there = yield from self.source.available()
        if there[:1] in {'"', "{", "["}:
            return (yield from read_nested(self.source, _ignore))
        return bool((yield from _read_scalar(self.source)))

    def _read_name(self) -> Reading[bool]:
        name = yield from read_string(self.source)
        if not name or not self.accepts(name):
            return False
        self._name = name
        if self._held is not None:
            self._report("".join(self._held))
        return True

    def _read_arguments(self) -> Reading[bool]:
        source = self.source
        if (yield from source.looking_at("{")):
            if self._name is None:
                self._held = []
                return (yield from read_nested(source, self._held.append))
            self._report("")
            return (yield from read_nested(source, self.arguments))
        text: str | None
        if (yield from source.looking_at('"')):
            text = yield from read_string(source)
        else:
            text = "{}" if (yield from _read_scalar(source)) == "null" else None
        if text is None or not _is_object(text):
            return False
        if self._name is None:
            self._held = [text]
        else:
            self._report(text)
        return True

    def _report(self, arguments: str) -> None:
        self._begun = True
        self.begin(self._name or "")
        if arguments:
            self.arguments(arguments)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _ignore(_text: str) -> None:
    pass
