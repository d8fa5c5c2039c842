from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transports.sequence import Arrivals


def test_gaps_are_counted_and_repeats_refused() -> None:
    arrivals = Arrivals()
    assert [arrivals.admit(seq) for seq in (1, 2, 5, 5, 3, 6)] == [0, 0, 2, None, None, 0]


@given(st.lists(st.integers(1, 30)))
def test_admitted_numbers_rise_and_all_others_are_accounted_for(numbers: list[int]) -> None:
    arrivals = Arrivals()
    verdicts = [arrivals.admit(seq) for seq in numbers]
    admitted = [seq for seq, gap in zip(numbers, verdicts, strict=True) if gap is not None]
    assert admitted == sorted(set(admitted))
    assert arrivals.last == len(admitted) + sum(gap for gap in verdicts if gap)
