from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.worker_core import worker_core


@given(workers=st.integers(1, 64), cores=st.sets(st.integers(0, 255), min_size=1, max_size=32))
def test_each_core_has_its_fair_share_or_none_is_chosen(workers: int, cores: set[int]) -> None:
    chosen = [worker_core(seat, workers, cores) for seat in range(workers)]
    if workers < len(cores):
        assert set(chosen) == {None}
        return
    times = Counter(chosen)
    assert set(times) == cores
    assert max(times.values()) - min(times.values()) <= 1
