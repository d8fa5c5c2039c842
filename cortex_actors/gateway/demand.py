"""How likely each model is to be wanted soon, from how often it was lately. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

HALF_LIFE_S = 300.0
HORIZON_S = 300.0


@final
class Demand:
    """Requests per model, each counting half as much after ``HALF_LIFE_S``. Times are monotonic."""

    def __init__(self) -> None:
        self._scores: dict[str, tuple[float, float]] = {}

    def observe(self, requests: Mapping[str, int], now: float) -> None:
        """So many requests for each of these models have come since the last time."""
        for model, count in requests.items():
            self._scores[model] = self._score(model, now) + count, now

    def probability(self, model: str, now: float) -> float:
        """Return how likely a request within ``HORIZON_S`` is, if they come at random (Poisson)."""
        per_s = self._score(model, now) * math.log(2) / HALF_LIFE_S
        return 1.0 - math.exp(-per_s * HORIZON_S)

    def forget(self, model: str) -> None:
        """The catalogue has it no more."""
        self._scores.pop(model, None)

    def _score(self, model: str, now: float) -> float:
        score, at = self._scores.get(model, (0.0, now))
        return score * math.exp2(-max(now - at, 0.0) / HALF_LIFE_S)
