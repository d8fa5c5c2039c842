from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.request_slots import NAMED_SHARE, RequestSlots


def filled(slots: RequestSlots, principal: str) -> int:
    """Take as many as there are to be had."""
    count = 0
    while slots.take(principal):
        count += 1
    return count


def test_without_keys_whoever_comes_may_have_all() -> None:
    slots = RequestSlots(9)
    assert filled(slots, "") == 9
    assert not slots.take("a")
    slots.release()
    assert slots.take("a")


def test_with_keys_nobody_has_all_and_those_without_a_name_have_half() -> None:
    slots = RequestSlots(90, shared=True)
    assert filled(slots, "") == 45
    assert filled(slots, "a") == 40
    assert filled(slots, "b") == 5
    slots = RequestSlots(90, shared=True)
    assert filled(slots, "a") == 80
    assert filled(slots, "b") == 9
    assert filled(slots, "c") == 1


@given(st.lists(st.tuples(st.sampled_from(("a", "b", "")), st.booleans()), max_size=60))
def test_there_is_room_for_a_newcomer_until_many_have_come(
    events: list[tuple[str, bool]],
) -> None:
    slots, held = RequestSlots(18, shared=True), {"a": 0, "b": 0, "": 0}
    for principal, take in events:
        if not take and held[principal]:
            slots.release(principal)
            held[principal] -= 1
        elif take and slots.take(principal):
            held[principal] += 1
            assert held[principal] <= NAMED_SHARE * (19 - sum(held.values()))
    assert sum(held.values()) < 18, "nothing is left for a third"
    assert slots.take("c")
    slots.release("c")
    for principal, count in held.items():
        for _ in range(count):
            slots.release(principal)
    assert filled(slots, "a") == 16
