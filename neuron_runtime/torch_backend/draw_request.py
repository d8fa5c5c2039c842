"""What is known about one row of logits when its token is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from transports.schemas.group import SampleParams

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
# Scores divided by less than this could leave float32; the likeliest tokens have all the mass then.
_MIN_TEMPERATURE = 1e-5


class DrawRequest(msgspec.Struct, frozen=True):
    """How to draw the next token of one sequence.

    ``known`` are its tokens so far, needed only for the penalties: the last ``params.index`` are
    the output, those before it the prompt. ``mask`` is the sequence's row of the step's mask frame
    (see ``Step``); tokens that it has no bit for are not allowed.
    """

    sequence: int
    params: SampleParams
    known: Sequence[int] = ()
    mask: bytes | None = None

    @property
    def is_greedy(self) -> bool:
        """Whether the best score is taken."""
        return self.params.temperature <= 0

    @property
    def is_plain(self) -> bool:
        """Whether the best of the model's own scores is taken."""
        params = self.params
        return (
            params.temperature <= 0
            and self.mask is None
            and not params.logit_bias
            and params.repetition_penalty == 1.0
            and not params.frequency_penalty
            and not params.presence_penalty
        )

    @property
    def output(self) -> Sequence[int]:
        """The known tokens that the model has drawn."""
        return self.known[len(self.known) - self.params.index :]

    @property
    def temperature(self) -> float:
        """What scores are divided by."""
        return max(self.params.temperature, _MIN_TEMPERATURE)

    def limit(self, vocabulary: int) -> int:
        """Return how many tokens top_k keeps; 0 for all of them."""
        return self.params.top_k if 0 < self.params.top_k < vocabulary else 0

    def uniform(self) -> float:
        """Return a number from [0, 1) that looks random but depends on seed and index only."""
        return (_mixed(_mixed(self.params.seed) + self.params.index) >> 11) * 2.0**-53


def _mixed(value: int) -> int:
    """Spread neighbouring numbers over 64 bits (the finaliser of SplitMix64)."""
    value = (value + _GOLDEN) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)
