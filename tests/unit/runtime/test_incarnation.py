"""Slots and incarnations."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from neuron_runtime import incarnation
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from transports.envelope import VERSION, Kind, pack, unpack
from transports.errors import ProtocolError


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


def test_the_last_incarnation_of_a_boot_fits_the_envelope() -> None:
    last = incarnation._MAX_INC
    assert unpack(pack(VERSION, Kind.PING, 0, 0, last, 1, 0, 0, 0)).inc == last
    with pytest.raises(ProtocolError):
        pack(VERSION, Kind.PING, 0, 0, last + 1, 1, 0, 0, 0)


def test_owners_on_many_threads_never_get_the_same_life() -> None:
    mint = IncarnationMint(7)
    together = threading.Barrier(8)

    def live(owner: int) -> list[tuple[int, int]]:
        together.wait()
        slots = [mint.slot(f"{owner}/{place}") for place in range(200)]
        return [(slot, mint.mint(slot)) for slot in slots]

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            lives = [life for owner in threads.map(live, range(8)) for life in owner]
    finally:
        sys.setswitchinterval(interval_s)

    assert sorted(slot for slot, _ in lives) == list(range(1, 1601))
    assert sorted(inc for _, inc in lives) == list(range(1, 1601))
