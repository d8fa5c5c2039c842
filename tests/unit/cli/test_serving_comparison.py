"""What the serving comparison makes of its measurements."""

from __future__ import annotations

import math

import pytest

from cortex_actors.cli.bench.stream_record import StreamRecord
from tests.benchmarks.serving_verdicts import LLAMA, OURS, Bar, Measurement, median
from tests.benchmarks.serving_workloads import interference

AT_MOST = Bar("a", LLAMA, 1.0)
AT_LEAST = Bar("b", LLAMA, 2.0, at_least=True)
OWN = Bar("e", "", 0.15)


def samples(key: str, ours: list[float], theirs: list[float]) -> dict[tuple[str, str], list]:  # type: ignore[type-arg]
    return {
        (key, OURS): [Measurement(value) for value in ours],
        (key, LLAMA): [Measurement(value) for value in theirs],
    }


@pytest.mark.parametrize(
    ("bar", "ours", "theirs", "ratio", "passes"),
    [
        (AT_MOST, [9.0, 30.0, 8.0], [10.0, 10.0, 10.0], 0.9, True),
        (AT_MOST, [11.0], [10.0], 1.1, False),
        (AT_MOST, [math.inf], [10.0], math.inf, False),
        (AT_LEAST, [200.0], [100.0], 2.0, True),
        (AT_LEAST, [199.0], [100.0], 1.99, False),
        (OWN, [0.1], [], 0.1, True),
        (OWN, [math.inf], [], math.inf, False),
    ],
)
def test_bars_compare_medians(
    bar: Bar, ours: list[float], theirs: list[float], ratio: float, passes: bool
) -> None:
    found = samples(bar.workload, ours, theirs)
    assert bar.ratio(found) == pytest.approx(ratio)
    assert bar.passes(found) is passes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([1.0], []), ([], [1.0]), ([1.0], [math.inf]), ([1.0], [math.nan]), ([1.0], [0.0])],
)
def test_what_was_not_measured_passes_nothing(ours: list[float], theirs: list[float]) -> None:
    for bar in (AT_MOST, AT_LEAST):
        assert bar.passes(samples(bar.workload, ours, theirs)) is None


def test_one_failed_round_is_not_hidden_by_the_others() -> None:
    assert math.isnan(median([Measurement(1.0), Measurement(math.nan), Measurement(1.0)]))
    assert median([Measurement(1.0), Measurement(math.inf)]) == math.inf


def test_a_cut_on_either_side_is_told() -> None:
    found = samples("b", [3.0], [1.0])
    assert not AT_LEAST.was_cut(found)
    found["b", LLAMA].append(Measurement(1.0, cut=True))
    assert AT_LEAST.was_cut(found)


def test_interference_is_the_worst_gap_of_the_wait_over_the_median_before() -> None:
    running = [
        # The pause of 5 after the newcomer's first text is not its doing.
        StreamRecord(0.0, [1.0, 2.0, 3.0, 6.0, 7.0, 12.0]),
        StreamRecord(0.0, [1.5, 2.5, 3.5, 5.0, 7.5]),
    ]
    arrived = StreamRecord(3.6, [7.0])
    assert interference(running, arrived) == pytest.approx(3.0)
    assert math.isnan(interference([StreamRecord(0.0, [1.0])], arrived))
