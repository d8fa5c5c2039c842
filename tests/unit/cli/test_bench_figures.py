"""The arithmetic of the benchmarks."""

from __future__ import annotations

import math

from cortex_actors.cli.bench_coldload import ColdLoad, medians
from cortex_actors.cli.bench_health import percentile


def test_percentiles_are_nearest_rank() -> None:
    samples = [float(n) for n in range(1, 101)]
    assert percentile(samples, 50) == 50
    assert percentile(samples, 99) == 99
    assert percentile(samples, 100) == 100
    assert percentile([3.0], 99) == 3
    assert math.isinf(percentile([], 50))


def test_medians_are_per_figure_in_order_of_time() -> None:
    runs = [
        ColdLoad(first_token_s=4.0, total_s=5.0, states_s={"starting": 0.1, "ready": 3.0}),
        ColdLoad(first_token_s=6.0, total_s=7.0, states_s={"ready": 5.0, "starting": 0.3}),
        ColdLoad(first_token_s=5.0, total_s=9.0, states_s={"starting": 0.2}),
    ]
    middle = medians(runs)
    assert list(middle) == ["starting", "ready", "first token", "last token"]
    assert list(middle.values()) == [0.2, 4.0, 5.0, 7.0]
