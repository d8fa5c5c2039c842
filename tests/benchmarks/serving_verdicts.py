"""The bars of the serving comparison, and who passes them; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OURS, LLAMA, TRANSFORMERS = "cortex", "llama-server", "transformers"

Samples = Mapping[tuple[str, str], Sequence[float]]
"""What every round measured, by workload key and server."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on our median, relative to another server's if one is named."""

    workload: str
    against: str
    limit: float
    at_least: bool = False

    def ratio(self, samples: Samples) -> float:
        """Return our median over theirs, or our median; NaN where something was not measured."""
        ours = median(samples.get((self.workload, OURS), ()))
        if not self.against:
            return ours
        theirs = median(samples.get((self.workload, self.against), ()))
        # Both over the limit, or a server that produced nothing: no ratio says anything.
        if math.isinf(ours) and math.isinf(theirs):
            return math.nan
        return ours / theirs if theirs else math.nan

    def passes(self, ratio: float) -> bool | None:
        """Return whether the bar is met; None if nothing was measured."""
        if math.isnan(ratio):
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}x {self.against}".rstrip()


BARS = (
    Bar("a", LLAMA, 1.0),
    Bar("b", LLAMA, 2.0, at_least=True),
    Bar("c", LLAMA, 2.0, at_least=True),
    Bar("c", TRANSFORMERS, 3.0, at_least=True),
    Bar("d", LLAMA, 0.3),
    Bar("e", "", 0.15),
    Bar("f", "", 4.0),
    Bar("g", LLAMA, 1.5),
)


def median(samples: Sequence[float]) -> float:
    """Return the median; NaN if there is none or a round failed (its sample is NaN)."""
    if not samples or any(math.isnan(sample) for sample in samples):
        return math.nan
    return statistics.median_low(samples)
