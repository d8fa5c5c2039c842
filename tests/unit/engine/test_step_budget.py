from __future__ import annotations

import pytest

from neuron_runtime.engine.step_budget import HOLD_UP, LEAST, LONGEST_S, MOST_SPARED, StepBudget


def budget() -> StepBudget:
    return StepBudget(beside=256, alone=1024)


def test_the_limits_hold_as_long_as_nothing_is_known() -> None:
    assert budget().tokens(0) == 256
    assert budget().tokens(6) == 250
    assert StepBudget(beside=20, alone=1024).tokens(18) == LEAST


def test_a_prompt_may_widen_the_gap_of_those_that_decode_only_so_far() -> None:
    measured = budget()
    measured.observe(0.010, 8, 0)
    measured.observe(0.100, 0, 1000)

    assert measured.tokens(8) == pytest.approx(HOLD_UP * (1 + 1 / 8) * 0.010 / 0.0001, abs=1)
    assert measured.tokens(0) == 1024


def test_a_slow_device_finishes_one_prompt_before_it_feeds_the_next() -> None:
    measured = budget()
    measured.observe(1.0, 0, 600)

    assert measured.tokens(0) == pytest.approx(600 * LONGEST_S, abs=1)


def test_a_fast_device_is_bound_by_the_limit_alone() -> None:
    measured = budget()
    measured.observe(0.010, 8, 0)
    measured.observe(0.010, 0, 1000)

    assert measured.tokens(8) == 248


def test_a_mixed_step_tells_what_the_prompt_cost_beside_the_rest() -> None:
    measured = budget()
    measured.observe(0.010, 8, 0)
    measured.observe(0.030, 8, 100)

    assert measured.tokens(8) == pytest.approx(HOLD_UP * (1 + 1 / 8) * 0.010 / 0.0002, abs=1)


def test_one_outlier_changes_little() -> None:
    measured = budget()
    for _ in range(5):
        measured.observe(0.010, 8, 0)
    measured.observe(0.050, 0, 100)
    before = measured.tokens(8)
    measured.observe(10.0, 8, 0)

    assert before <= measured.tokens(8) <= 1.25 * before


def test_without_memory_the_budget_is_halved_down_to_the_least() -> None:
    tight = budget()

    assert tight.shrink(100)
    assert (tight.tokens(0), tight.tokens(2)) == (50, 50)
    assert tight.shrink(LEAST + 1)
    assert tight.tokens(0) == LEAST
    assert not tight.shrink(LEAST)
    tight.reset()
    assert tight.tokens(0) == 256


def test_the_more_wait_the_longer_may_a_step_be() -> None:
    measured = budget()
    measured.observe(0.010, 8, 0)
    measured.observe(0.100, 0, 1000)

    assert measured.tokens(8, 8) == pytest.approx(HOLD_UP * 2 * 0.010 / 0.0001, abs=1)
    assert measured.tokens(8, 12) == pytest.approx(HOLD_UP * 2.5 * 0.010 / 0.0001, abs=1)
    assert measured.tokens(8, 100) == 248


def test_each_number_of_sequences_has_its_own_gap() -> None:
    measured = budget()
    measured.observe(0.100, 0, 1000)
    for decoding, seconds in ((1, 0.004), (8, 0.010), (1, 0.004)):
        measured.observe(seconds, decoding, 0)

    assert measured.tokens(1) == pytest.approx(HOLD_UP * (1 + 1 / 1) * 0.004 / 0.0001, abs=1)
    assert measured.tokens(8) == pytest.approx(HOLD_UP * (1 + 1 / 8) * 0.010 / 0.0001, abs=1)
    assert measured.tokens(7) == pytest.approx(HOLD_UP * (1 + 1 / 7) * 0.010 / 0.0001, abs=1)


def test_who_has_seen_nothing_of_a_step_is_spared_the_next_but_not_for_ever() -> None:
    measured = budget()
    for _ in range(3):
        for _ in range(MOST_SPARED):
            assert measured.tokens(8, unseen=True) == 0
            measured.spare(1)
        assert measured.tokens(8, unseen=True) > 0
    assert measured.tokens(8, unseen=True) == 0
    measured.spare(MOST_SPARED)
    assert measured.tokens(8, unseen=True) > 0
    measured.spare(1)
    assert measured.tokens(8) > 0
    assert measured.tokens(8, unseen=True) == 0
