"""What one streamed completion looked like from the client's side; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

CUT = "cut"
"""The error of a stream that was still running when the time for the measurement was over."""


@final
@dataclass(slots=True)
class StreamRecord:
    """One request's times, in seconds of the generator's clock, and its tokens.

    ``text_at`` has one entry per read that brought text: what arrives together is seen together.
    """

    due_at: float
    text_at: list[float] = field(default_factory=list)
    deltas: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    ended_at: float | None = None
    error: str = ""

    @property
    def first_text_s(self) -> float | None:
        """Seconds from when the request was due to its first text."""
        return self.text_at[0] - self.due_at if self.text_at else None

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between two reads that brought text."""
        return [later - earlier for earlier, later in pairwise(self.text_at)]

    @property
    def total_s(self) -> float | None:
        """Seconds from when the request was due to its end, if it ended well."""
        return None if self.ended_at is None or self.error else self.ended_at - self.due_at

    @property
    def tokens(self) -> int:
        """Output tokens as the server counts them, or the deltas if it does not say."""
        return self.completion_tokens or self.deltas

    @property
    def token_s(self) -> float | None:
        """Mean seconds of a token after the first read, however the server groups them."""
        if len(self.text_at) < 2 or self.tokens < 2:
            return None
        return (self.text_at[-1] - self.text_at[0]) / (self.tokens - 1)
