"""Requests that take groups down with them."""

from __future__ import annotations

from neuron_runtime.poison import PoisonLedger


def test_a_request_seen_in_two_deaths_is_poisonous_and_others_are_not() -> None:
    ledger = PoisonLedger()

    assert ledger.group_died(["bad", "unlucky"]) == frozenset()
    assert ledger.group_died(["bad", "newcomer"]) == {"bad"}
    assert ledger.is_poisonous("bad")
    assert not ledger.is_poisonous("unlucky")


def test_a_request_that_has_ended_leaves_no_trace() -> None:
    ledger = PoisonLedger()
    ledger.group_died(["a", "a", "b"])
    ledger.forget("a")
    ledger.forget("b")
    ledger.forget("never seen")

    assert len(ledger) == 0
