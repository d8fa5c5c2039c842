"""The histogram of the gaps between a text's pieces, which front ends count and tell in bulk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, final

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily

from transports.schemas.text_gaps import GAP_BOUNDS_S, TextGaps

_LABELS: Final = ("gen_ai_request_model", "neuron")
_CLASSES: Final = (*map(str, GAP_BOUNDS_S), "+Inf")


@final
class GapMetrics:
    """A collector. Safe to use from any thread."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._totals_s: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def add(self, model: str, neuron: str, gaps: TextGaps) -> None:
        """Count the gaps of one text, or of a part of it."""
        if len(gaps.counts) != len(_CLASSES):
            return
        key = model, neuron
        with self._lock:
            known = self._counts.get(key) or [0] * len(_CLASSES)
            self._counts[key] = [*map(sum, zip(known, gaps.counts, strict=True))]
            self._totals_s[key] = self._totals_s.get(key, 0.0) + gaps.total_s

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        family = HistogramMetricFamily(
            "cortex_inter_token_latency_seconds",
            "Time between successive pieces of a text, mostly one token each.",
            labels=_LABELS,
        )
        with self._lock:
            known = {key: (counts, self._totals_s[key]) for key, counts in self._counts.items()}
        for key, (counts, total_s) in known.items():
            family.add_metric(key, _cumulative(counts), total_s)
        yield family


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    buckets, sum_ = [], 0
    for name, count in zip(_CLASSES, counts, strict=True):
        sum_ += count
        buckets.append((name, float(sum_)))
    return buckets
