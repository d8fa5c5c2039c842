"""How many tokens of prompts the next step may feed. Pure.

A step that feeds a prompt holds up everyone who decodes in it, so its share is measured: the gap
that running streams see may become longer by ``HOLD_UP`` of itself, and as much more as those who
wait for their prompts are more than those who decode: a burst of newcomers is soon under way, and a
single one is hardly felt. A stream whose last token was a part of a character, or has no text, has
shown nothing for a step already; so that the gaps of two such steps do not add up, the next ones
feed no prompts. Even with nobody to hold up, a step takes ``LONGEST_S`` at most, or about: a
prompt's first token waits for the step's end, and tokens of the prompts behind it would only make
that later. What the ranks have no memory for is not tried again.
"""

from __future__ import annotations

from typing import Final, final

from neuron_runtime.engine.token_bytes import LONGEST_CHARACTER

HOLD_UP: Final = 0.5
LEAST: Final = 4
"""Tokens that a step feeds however slow they are."""
LONGEST_S = 0.4
MOST_SPARED: Final = LONGEST_CHARACTER - 1
"""So many steps, or rounds of one, feed no prompts in a row: as many as a character's tokens may
take to show it. With more, text of such characters alone would keep prompts waiting for ever."""
_WEIGHT = 0.2
_MOST_SURPRISE = 2.0


@final
class StepBudget:
    """Learns from each step's duration. Durations are in seconds, ``fed`` in prompt tokens.

    Args:
        beside: Tokens of a step in which something decodes, at most.
        alone: Tokens of a step in which nothing does, at most; as few as ``beside`` until it is
            known how long a token takes.
    """

    def __init__(self, beside: int, alone: int) -> None:
        self._beside = beside
        self._alone = alone
        self._least = min(LEAST, alone)
        self._cap: int | None = None
        self._decode_s: dict[int, float] = {}
        self._token_s: float | None = None
        self._spared = 0

    def tokens(self, decoding: int, waiting: int = 1, *, unseen: bool = False) -> int:
        """Return how many prompt tokens a step may feed in which ``decoding`` sequences decode.

        ``waiting`` others have prompts that could be fed. ``unseen`` says that of one that decodes
        the last token could not be shown.
        """
        if unseen and self._spared < MOST_SPARED:
            return 0
        self._spared = 0
        budget = self._unhurried()
        if decoding:
            budget = min(self._beside - decoding, self._paced(decoding, waiting))
        if self._cap is not None:
            budget = min(budget, self._cap)
        return max(budget, self._least)

    def spare(self, rounds: int) -> None:
        """So many rounds feed no prompts because of one that has seen nothing."""
        self._spared += rounds

    def observe(self, seconds: float, decoding: int, fed: int) -> None:
        """A step that went well took so long."""
        if not fed:
            self._decode_s[decoding] = _moved(self._decode_s.get(decoding), seconds)
            return
        own = seconds - (self._decoding_s(decoding) or 0.0) if decoding else seconds
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
        self._cap = self._token_s = None
        self._decode_s.clear()

    def _unhurried(self) -> int:
        if not self._token_s:
            return min(self._alone, self._beside)
        return min(self._alone, int(LONGEST_S / self._token_s))

    def _paced(self, decoding: int, waiting: int) -> int:
        decode_s = self._decoding_s(decoding)
        if not decode_s or not self._token_s:
            return self._beside
        return int(HOLD_UP * (1 + waiting / decoding) * decode_s / self._token_s)

    def _decoding_s(self, decoding: int) -> float | None:
        """Return how long a step takes in which so many decode, or the number next to it."""
        known = min(self._decode_s, key=lambda count: abs(count - decoding), default=None)
        return None if known is None else self._decode_s[known]


def _moved(known: float | None, seen: float) -> float:
    """Return a moving average; a single outlier moves it little."""
    if known is None:
        return seen
    return known + _WEIGHT * (min(seen, _MOST_SURPRISE * known) - known)
