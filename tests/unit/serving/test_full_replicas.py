from __future__ import annotations

import pytest

from cortex_actors.serving.full_replicas import MOST_S, FullReplicas


def test_who_is_full_is_passed_over_until_its_time_is_up() -> None:
    full = FullReplicas()
    full.refused("a", 2.0, 100.0)
    full.refused("b", 5.0, 100.0)
    assert full.endpoints(101.0) == ("a", "b")
    assert full.endpoints(102.0) == ("b",)
    full.refused("b", 5.0, 103.0)
    assert full.endpoints(105.0) == ("b",)
    assert full.endpoints(108.0) == ()


@pytest.mark.parametrize("retry_after_s", [1e9, float("inf")])
def test_nobody_is_passed_over_for_long(retry_after_s: float) -> None:
    full = FullReplicas()
    full.refused("a", retry_after_s, 0.0)
    assert full.endpoints(MOST_S - 0.1) == ("a",)
    assert full.endpoints(MOST_S) == ()


@pytest.mark.parametrize("retry_after_s", [0.0, -1.0, float("nan")])
def test_what_is_no_time_is_none(retry_after_s: float) -> None:
    full = FullReplicas()
    full.refused("a", retry_after_s, 0.0)
    assert full.endpoints(0.0) == ()
