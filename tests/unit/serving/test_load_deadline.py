from __future__ import annotations

import pytest

from cortex_actors.serving.load_deadline import load_deadline_s


@pytest.mark.parametrize(
    ("memory_mb", "seconds"),
    [(0, 600.0), (-5, 600.0), (600, 600.0), (20_000, 600.0), (30_000, 900.0), (140_000, 4200.0)],
)
def test_large_models_have_more_time_in_proportion(memory_mb: int, seconds: float) -> None:
    assert load_deadline_s(600.0, memory_mb) == seconds
