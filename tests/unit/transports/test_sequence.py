from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transports.sequence import Arrivals


def test_gaps_are_counted_and_repeats_refused() -> None:
    arrivals = Arrivals()
    assert [arrivals.admit(seq) for seq in (1, 2, 5, 5, 3, 6)] == [0, 0, 2, None, None, 0]
    assert arrivals.lost == 2


@given(st.lists(st.integers(1, 30)))
def test_admitted_numbers_rise_and_all_others_are_accounted_for(numbers: list[int]) -> None:
    arrivals = Arrivals()
    admitted = [seq for seq in numbers if arrivals.admit(seq) is not None]
    assert admitted == sorted(set(admitted))
    assert arrivals.last == len(admitted) + arrivals.lost
