from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from transports.proxy import Faults, Lane

MESSAGES = [[bytes([number])] for number in range(50)]


def through(faults: Faults, seed: int) -> list[list[bytes]]:
    lane = Lane(faults, random.Random(seed))
    out = []
    for at, message in enumerate(MESSAGES):
        lane.offer(message, at * 0.001)
        out += lane.due(at * 0.001)
    return out + lane.due(1000.0)


@given(st.integers())
def test_same_seed_makes_the_same_faults(seed: int) -> None:
    faults = Faults(drop=0.2, duplicate=0.2, delay=0.2, reorder=0.2)
    assert through(faults, seed) == through(faults, seed)


@given(st.integers())
def test_each_fault_does_what_it_is_called(seed: int) -> None:
    assert through(Faults(), seed) == MESSAGES
    assert through(Faults(delay=0.5), seed) == MESSAGES
    dropped = through(Faults(drop=0.5), seed)
    assert dropped == [message for message in MESSAGES if message in dropped]
    repeated = through(Faults(duplicate=1.0), seed)
    assert repeated == [message for message in MESSAGES for _ in range(2)]
    assert sorted(through(Faults(reorder=0.5), seed)) == MESSAGES


def test_reordered_messages_come_out_of_order() -> None:
    assert through(Faults(reorder=0.3), 1) != MESSAGES


def test_everything_is_lost_when_all_is_dropped() -> None:
    assert through(Faults(drop=1.0), 1) == []
