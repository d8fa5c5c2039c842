from __future__ import annotations

from itertools import count

from neuron_runtime.engine.longest_line_drop import dropped_for
from neuron_runtime.engine.sequence import Request, Sequence


def line(*requests: str | tuple[str, int]) -> list[Sequence]:
    """Requests in order of arrival: by whom, and of how many sequences."""
    numbers = count(1)
    alive = []
    for each in requests:
        principal, size = (each, 1) if isinstance(each, str) else each
        request = Request()
        alive += [
            Sequence(next(numbers), (1,), principal=principal, request=request) for _ in range(size)
        ]
    return alive


def dropped(principal: str, alive: list[Sequence], places: int = 1) -> list[int]:
    return [each.id for each in dropped_for(principal, places, places, alive)]


def test_those_without_a_name_give_way_to_all_that_have_one_youngest_first() -> None:
    alive = line("a", "", "a", "", "a")
    assert dropped("b", alive) == [4]
    assert dropped("a", alive) == [4]
    assert dropped("b", alive, 2) == [4, 2]


def test_nobody_gives_way_to_those_without_a_name() -> None:
    assert dropped("", line("a", "a", "", "")) == []


def test_whoever_has_most_gives_way_to_one_that_has_fewer_even_then() -> None:
    assert dropped("c", line("a", "b", "b", "b", "a")) == [4]
    assert dropped("a", line("a", "b", "b", "b")) == [4]
    assert dropped("a", line("a", "b", "b")) == []
    assert dropped("a", line("a", "a", "a")) == []


def test_two_cannot_take_each_others_places_in_turn() -> None:
    alive = line("a", "b", "b")
    (gone,) = dropped("c", alive)
    alive = [each for each in alive if each.id != gone] + line("c")
    assert dropped("b", alive) == []


def test_a_request_goes_as_a_whole() -> None:
    assert dropped("b", line("a", ("a", 3))) == [2, 3, 4]


def test_what_has_begun_keeps_all_its_places_whatever_of_it_is_over() -> None:
    alive = line(("a", 3), "a")
    alive[0].request.begun = True
    del alive[0]
    assert dropped("b", alive) == [4]
    assert dropped("b", alive[:-1]) == []


def test_nobody_goes_if_it_would_not_be_enough() -> None:
    alive = line("a", "a", "a")
    alive[0].request.begun = True
    assert dropped("b", alive, 2) == []
