"""How many tokens of prompts the next step may feed. Pure.

A step that feeds a prompt holds up everyone who decodes in it, so its share is measured: the gap
that running streams see may become ``MOST_GAP`` times what it is without it. Even with nobody to
hold up, a step takes ``LONGEST_S`` at most, or about: a prompt's first token waits for the step's
end, and tokens of the prompts behind it would only make that later. What the ranks have no memory
for is not tried again.
"""

from __future__ import annotations

from typing import final

MOST_GAP = 2.5
LONGEST_S = 0.4
_WEIGHT = 0.2
_MOST_SURPRISE = 2.0


@final
class StepBudget:
    """Learns from each step's duration. Durations are in seconds, ``fed`` in prompt tokens.

    Args:
        beside: Tokens of a step in which something decodes, at most.
        alone: Tokens of a step in which nothing does, at most; as few as ``beside`` until it is
            known how long a token takes.
        least: The budget is never less.
    """

    def __init__(self, beside: int, alone: int, least: int) -> None:
        self._beside = beside
        self._alone = alone
        self._least = least
        self._cap: int | None = None
        self._decode_s: float | None = None
        self._token_s: float | None = None

    def tokens(self, decoding: int) -> int:
        """Return how many prompt tokens a step may feed in which ``decoding`` sequences decode."""
        budget = self._unhurried()
        if decoding:
            budget = min(self._beside - decoding, self._paced())
        if self._cap is not None:
            budget = min(budget, self._cap)
        return max(budget, self._least)

    def observe(self, seconds: float, decoding: int, fed: int) -> None:
        """A step that went well took so long."""
        if not fed:
            self._decode_s = _moved(self._decode_s, seconds)
            return
        own = seconds - (self._decode_s or 0.0) if decoding else seconds
        if own > 0:
            self._token_s = _moved(self._token_s, own / fed)

    def shrink(self, fed: int) -> bool:
        """The ranks had no memory for ``fed`` tokens; return whether fewer can be tried."""
        if fed <= self._least:
            return False
        self._cap = max(self._least, fed // 2)
        return True

    def reset(self) -> None:
        """The ranks are new."""
        self._cap = self._decode_s = self._token_s = None

    def _unhurried(self) -> int:
        if not self._token_s:
            return min(self._alone, self._beside)
        return min(self._alone, int(LONGEST_S / self._token_s))

    def _paced(self) -> int:
        if not self._decode_s or not self._token_s:
            return self._beside
        return int((MOST_GAP - 1) * self._decode_s / self._token_s)


def _moved(known: float | None, seen: float) -> float:
    """Return a moving average; a single outlier moves it little."""
    if known is None:
        return seen
    return known + _WEIGHT * (min(seen, _MOST_SURPRISE * known) - known)
