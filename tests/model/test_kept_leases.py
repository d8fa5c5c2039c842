"""Kept leases satisfy their model; ones with one mistake each do not."""

from __future__ import annotations

import pytest

from cortex_actors.http.kept_leases import MOST_UNTOLD, KeptLeases
from tests.model.kept_lease_machine import KeptLeaseMachine
from tests.model.naive_kept_leases import NAIVE
from tests.model.trials import holds, is_found_out
from tests.unit.serving.doubles import FakeLink
from transports.schemas.fleet import Lease, LeaseRequest, LeaseSettled

STEPS = 40


def machine_of(kept: type[KeptLeases]) -> type[KeptLeaseMachine]:
    return type(kept.__name__, (KeptLeaseMachine,), {"kept_type": kept})


def test_a_lease_serves_one_request_after_another() -> None:
    holds(KeptLeaseMachine, examples=300, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_keeper_is_found_out(naive: type[KeptLeases]) -> None:
    is_found_out(machine_of(naive), steps=STEPS, by=(AssertionError, KeyError, StopIteration))


def test_what_is_untold_is_bounded() -> None:
    kept, link = KeptLeases(), FakeLink()
    first = LeaseRequest("r0", "m")
    held = kept.granted(Lease(1, "m", "here", "a", keep_s=9.0), first, link, 0.0)
    for number in range(MOST_UNTOLD + 1):
        urgent = kept.ended(held, LeaseSettled(1, "completed"), 0.0)
        assert urgent == (number >= MOST_UNTOLD)
        assert kept.take(LeaseRequest(f"r{number + 1}", "m"), link, 0.0) is held
    assert len(kept.due(0.0)) == MOST_UNTOLD + 1
