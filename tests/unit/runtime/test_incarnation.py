"""Slots and incarnations."""

from __future__ import annotations

import pytest

from neuron_runtime import incarnation
from neuron_runtime.incarnation import IncarnationMint, mint_boot


def test_the_same_place_keeps_its_slot_and_slot_0_is_never_given_out() -> None:
    mint = IncarnationMint(7)

    assert [mint.slot("a/0"), mint.slot("a/1"), mint.slot("a/0")] == [1, 2, 1]


def test_incarnations_grow_over_all_slots() -> None:
    mint = IncarnationMint(7)

    assert [mint.mint(slot) for slot in (2, 1, 2, 1)] == [1, 2, 3, 4]


def test_only_the_latest_life_of_a_slot_of_this_boot_is_current() -> None:
    mint = IncarnationMint(7)
    former, latter = mint.mint(1), mint.mint(1)

    assert mint.is_current(7, 1, latter)
    assert not mint.is_current(7, 1, former)
    assert not mint.is_current(8, 1, latter)
    assert not mint.is_current(7, 2, latter)


def test_retiring_a_former_life_does_not_touch_the_present_one() -> None:
    mint = IncarnationMint(7)
    former, latter = mint.mint(1), mint.mint(1)

    mint.retire(1, former)
    assert mint.is_current(7, 1, latter)
    mint.retire(1, latter)
    assert not mint.is_current(7, 1, latter)


def test_a_boot_that_has_used_up_its_incarnations_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation, "_MAX_INC", 1)
    mint = IncarnationMint(mint_boot())
    mint.mint(1)

    with pytest.raises(OverflowError, match="has no incarnations left"):
        mint.mint(1)
