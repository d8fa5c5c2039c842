from __future__ import annotations

from neuron_runtime.engine.fair_queue import FairQueue
from neuron_runtime.engine.sequence import Sequence


def queue_of(*waiting: tuple[int, str]) -> FairQueue:
    queue = FairQueue()
    for number, principal in waiting:
        queue.push(Sequence(number, (1,), principal=principal))
    return queue


def seat_next(queue: FairQueue) -> int:
    """Give the next a seat."""
    head = queue.peek()
    assert head is not None
    queue.seat(head.principal)
    queue.remove(head)
    return head.id


def seat_all(queue: FairQueue) -> list[int]:
    return [seat_next(queue) for _ in range(len(queue))]


def test_one_principal_is_served_in_order_of_arrival() -> None:
    assert seat_all(queue_of((1, "a"), (2, "a"), (3, "a"))) == [1, 2, 3]


def test_seats_are_shared_out_among_principals() -> None:
    queue = queue_of((1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c"))

    assert seat_all(queue) == [1, 4, 5, 2, 3]
    assert [queue.seats(each) for each in "abcd"] == [3, 1, 1, 0]


def test_those_without_a_name_get_what_is_left_over() -> None:
    assert seat_all(queue_of((1, ""), (2, "a"), (3, "a"), (4, ""))) == [2, 3, 1, 4]


def test_among_equals_the_one_that_was_served_less_is_next() -> None:
    queue = queue_of((1, "a"), (2, "b"), (3, "a"), (4, "b"))
    assert [seat_next(queue), seat_next(queue)] == [1, 2]
    queue.serve("a", 100)
    queue.serve("b", 10)

    assert seat_next(queue) == 4


def test_a_newcomer_starts_where_the_least_served_is() -> None:
    queue = queue_of((1, "a"), (2, "a"))
    seat_next(queue)
    queue.serve("a", 100)
    queue.push(Sequence(3, (1,), principal="b"))
    seat_next(queue)
    queue.serve("b", 50)
    queue.push(Sequence(4, (1,), principal="b"))

    assert seat_next(queue) == 2


def test_who_had_begun_goes_on_before_who_has_not() -> None:
    queue = queue_of((1, "a"))
    queue.push_front(Sequence(2, (1,), principal="b", started=1.0))

    assert seat_next(queue) == 2


def test_what_had_a_seat_waits_ahead_of_its_principals_others() -> None:
    queue = queue_of((1, "a"), (2, "a"))
    seat_next(queue)
    queue.push_front(Sequence(1, (1,), principal="a"))
    queue.unseat("a")

    assert seat_all(queue) == [1, 2]


def test_one_that_waits_can_be_taken_out() -> None:
    queue = FairQueue()
    waiting = [Sequence(number, (1,), principal="a") for number in (1, 2, 3)]
    for each in waiting:
        queue.push(each)

    queue.remove(waiting[1])

    assert (len(queue), [each.id for each in queue]) == (2, [1, 3])
    assert seat_all(queue) == [1, 3]
    assert queue.peek() is None


def test_a_principal_without_seats_and_requests_is_not_remembered() -> None:
    queue = queue_of((1, "a"))
    seat_next(queue)
    queue.serve("a", 100)
    queue.unseat("a")

    assert not queue._lines
