from __future__ import annotations

from cortex_actors.http.retry_budget import EARNED, MOST, RESERVE, RetryBudget


def test_an_outage_adds_at_most_a_fraction_of_the_requests() -> None:
    budget = RetryBudget()
    granted = 0
    for _ in range(1000):
        budget.deposit()
        granted += budget.withdraw()
    assert granted <= RESERVE + 1000 * EARNED + 1


def test_quiet_times_are_not_saved_up_without_end() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(1000)) == MOST
