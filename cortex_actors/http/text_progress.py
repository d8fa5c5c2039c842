"""What a text has come to so far, as its pieces tell. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import final

from transports.schemas.generate import TextDelta
from transports.schemas.link import GenerationFigures
from transports.schemas.text_gaps import GAP_BOUNDS_S, TextGaps


@final
class TextProgress:
    """One generation's. ``now`` is monotonic seconds."""

    __slots__ = (
        "_cached_tokens",
        "_first_at",
        "_gaps",
        "_gaps_s",
        "_last_at",
        "_prefill_s",
        "_prompt_tokens",
        "_queue_s",
        "_reasoning_tokens",
        "_tokens",
    )

    def __init__(self) -> None:
        self._first_at = self._last_at = 0.0
        self._prompt_tokens = self._cached_tokens = 0
        self._tokens = self._reasoning_tokens = 0
        self._queue_s = self._prefill_s = 0.0
        self._gaps: list[int] | None = None
        self._gaps_s = 0.0

    @property
    def decode_s(self) -> float:
        """How long the text has been coming. Any thread."""
        return self._last_at - self._first_at

    def piece(self, delta: TextDelta, now: float) -> None:
        """Take the next piece."""
        if not self._first_at:
            self._first_at = now
        else:
            self._gap(now - self._last_at)
        self._last_at = now
        self._tokens += len(delta.tokens)
        self._reasoning_tokens += delta.reasoning_tokens
        if delta.prompt_tokens:
            self._prompt_tokens, self._cached_tokens = delta.prompt_tokens, delta.cached_tokens
            self._queue_s, self._prefill_s = delta.queue_s, delta.prefill_s

    def figures(self) -> GenerationFigures:
        """Return what is known of it."""
        return GenerationFigures(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self._tokens,
            reasoning_tokens=self._reasoning_tokens,
            queue_s=self._queue_s,
            prefill_s=self._prefill_s,
            decode_s=self.decode_s,
        )

    def take_gaps(self) -> TextGaps | None:
        """Return the gaps since the last call; None if there was none."""
        if self._gaps is None:
            return None
        taken = TextGaps(tuple(self._gaps), self._gaps_s)
        self._gaps, self._gaps_s = None, 0.0
        return taken

    def _gap(self, gap_s: float) -> None:
        if self._gaps is None:
            self._gaps = [0] * (len(GAP_BOUNDS_S) + 1)
        self._gaps[bisect_left(GAP_BOUNDS_S, gap_s)] += 1
        self._gaps_s += gap_s
