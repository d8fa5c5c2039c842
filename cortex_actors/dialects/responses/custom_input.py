"""The free text of a custom tool's call, out of the JSON arguments that models write; pure."""

from __future__ import annotations

import json
import re
from typing import Final, final

INPUT: Final = "input"
"""The one property of the function that a custom tool becomes."""

_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_HEAD_SO_FAR = re.compile(r'\s*(\{\s*("(i(n(p(u(t("\s*(:\s*)?)?)?)?)?)?)?)?)?')
_PIECE = re.compile(
    r'[^"\\\ud800-\udfff]+|\\["\\/bfnrt]'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    r"|(?P<lone>\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\]|\\[^u]|\\u[^dD]|\\u[dD][^c-fC-F]))"
)
_REPLACEMENT = "\ufffd"


@final
class CustomInput:
    """Takes the arguments piece by piece; what it gives, joined, is the whole input."""

    def __init__(self) -> None:
        self._waiting = ""
        self._inside = False
        self._ended = False
        self._raw = False

    def feed(self, arguments: str) -> str:
        """Return the input that is certain by now and was not before."""
        if self._ended:
            return ""
        self._waiting += arguments
        if self._raw:
            return self._rest()
        if not self._inside and not self._enter():
            return self._rest() if self._raw else ""
        return self._decoded()

    def finish(self) -> str:
        """Return the rest, once all arguments have come."""
        # What is no object of one text is given as it is: the client sees what the model wrote.
        return "" if self._inside else self._rest()

    def _enter(self) -> bool:
        head = _HEAD.match(self._waiting)
        if head is None:
            self._raw = _HEAD_SO_FAR.fullmatch(self._waiting) is None
            return False
        self._waiting = self._waiting[head.end() :]
        self._inside = True
        return True

    def _decoded(self) -> str:
        decoded = []
        at = 0
        while (piece := _PIECE.match(self._waiting, at)) is not None:
            at = piece.end()
            decoded.append(_REPLACEMENT if piece["lone"] else _unescaped(piece.group()))
        self._ended = self._waiting[at : at + 1] == '"'
        self._waiting = self._waiting[at:]
        return "".join(decoded)

    def _rest(self) -> str:
        rest, self._waiting = self._waiting, ""
        return rest


def _unescaped(text: str) -> str:
    if not text.startswith("\\"):
        return text
    unescaped: str = json.loads(f'"{text}"')
    return unescaped


def arguments_of(text: str) -> str:
    """Return the arguments that a model would write for ``text``."""
    return json.dumps({INPUT: text}, ensure_ascii=False)
