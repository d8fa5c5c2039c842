from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortex_actors.http.accept_share import YIELD_S, AcceptRule, AcceptShare


def test_a_process_alone_takes_everything() -> None:
    share, rule = AcceptShare(1), AcceptRule()

    assert all(rule.takes(mine, share.least_of_others(0), 0.0) for mine in range(9))


def test_one_that_has_more_leaves_it_to_the_others_for_a_moment_only() -> None:
    rule = AcceptRule()

    assert not rule.takes(3, 2, 10.0)
    assert not rule.takes(3, 2, 10.0 + YIELD_S / 2)
    assert rule.takes(3, 2, 10.0 + YIELD_S)
    assert not rule.takes(3, 2, 10.0 + YIELD_S)


def test_one_that_has_left_is_waited_for_by_nobody() -> None:
    share, rule = AcceptShare(2), AcceptRule()
    share.tell(1, 0)
    assert not rule.takes(5, share.least_of_others(0), 1.0)
    share.leave(1)

    assert rule.takes(5, share.least_of_others(0), 1.0)


@given(st.integers(2, 5), st.lists(st.integers(0, 4), max_size=200))
def test_whoever_is_first_the_shares_stay_even(members: int, firsts: list[int]) -> None:
    share = AcceptShare(members)
    rules = [AcceptRule() for _ in range(members)]
    counts = [0] * members
    for member in range(members):
        share.tell(member, 0)
    for first in firsts:
        order = [(first + step) % members for step in range(members)]
        taker = next(
            each
            for each in order
            if rules[each].takes(counts[each], share.least_of_others(each), 0)
        )
        counts[taker] += 1
        share.tell(taker, counts[taker])

        assert max(counts) - min(counts) <= 1
