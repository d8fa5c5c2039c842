"""From output tokens to the text that a client may see. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from neuron_runtime.engine.detokenizer import Decoder, Detokenizer
from neuron_runtime.engine.stop import StopMatcher
from transports.schemas.generate import TextDelta


@final
class OutputText:
    """One stream: whole characters only, and nothing of a stop string.

    Each delta covers all tokens since the last, so the deltas' tokens are contiguous; tokens whose
    text is never shown (an end token, a stop string) are in none.
    """

    __slots__ = ("_detokenizer", "_next", "_stop", "_unshown")

    def __init__(self, decoder: Decoder, stops: Sequence[str] = ()) -> None:
        self._detokenizer = Detokenizer(decoder)
        self._stop = StopMatcher(stops)
        self._next = 0
        self._unshown: list[int] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come; nothing follows."""
        return self._stop.matched

    def push(self, token: int) -> TextDelta | None:
        """Take the next output token."""
        self._unshown.append(token)
        return self._delta(self._stop.push(self._detokenizer.push(token)))

    def finish(self) -> TextDelta | None:
        """Return what was held back; the output is over."""
        text = self._stop.push(self._detokenizer.flush())
        return self._delta(text + ("" if self.stopped else self._stop.flush()))

    def _delta(self, text: str) -> TextDelta | None:
        if not text:
            return None
        delta = TextDelta(text, self._next, tuple(self._unshown))
        self._next += len(self._unshown)
        self._unshown.clear()
        return delta
