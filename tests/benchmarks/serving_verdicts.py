"""The bars of the serving comparison, and who passes them; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OURS, LLAMA, TRANSFORMERS = "cortex", "llama-server", "transformers"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of one server in one round: NaN if it failed, infinite if the limit came first.

    ``cut`` says that streams still ran at the limit: a rate is then what came until there.
    """

    value: float
    cut: bool = False


Samples = Mapping[tuple[str, str], Sequence[Measurement]]
"""What every round measured, by workload key and server."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound on our median, relative to another server's if one is named."""

    workload: str
    against: str
    limit: float
    at_least: bool = False

    def ratio(self, samples: Samples) -> float:
        """Return our median over theirs, or our median; NaN where that cannot be known.

        Theirs beyond the limit is unknown, not infinite: it may be only just beyond.
        """
        ours = median(samples.get((self.workload, OURS), ()))
        if not self.against:
            return ours
        theirs = median(samples.get((self.workload, self.against), ()))
        return ours / theirs if theirs and math.isfinite(theirs) else math.nan

    def passes(self, samples: Samples) -> bool | None:
        """Return whether the bar is met; None if nothing was measured."""
        ratio = self.ratio(samples)
        if math.isnan(ratio):
            return None
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def was_cut(self, samples: Samples) -> bool:
        """Return whether the time limit had a part in any of the figures."""
        return any(was_cut(samples.get((self.workload, n), ())) for n in (OURS, self.against))

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


def median(samples: Sequence[Measurement]) -> float:
    """Return the median; NaN if there is none or a round failed."""
    values = [sample.value for sample in samples]
    if not values or any(math.isnan(value) for value in values):
        return math.nan
    # The low one of two would flatter a server that was over the limit in one of them.
    return statistics.median_high(values) if math.inf in values else statistics.median(values)


def was_cut(samples: Sequence[Measurement]) -> bool:
    """Return whether any round was cut at the time limit."""
    return any(sample.cut for sample in samples)
