from __future__ import annotations

from neuron_runtime.engine.longest_line_drop import give_way

Place = tuple[str, int | None]


def line(*requests: str | tuple[str, int]) -> list[Place]:
    """Places in order of arrival: whose, and how many for one request, which has a number."""
    sizes = [(each, 1) if isinstance(each, str) else each for each in requests]
    return [(name, number) for number, (name, size) in enumerate(sizes, 1) for _ in range(size)]


def dropped(principal: str, places: list[Place], count: int = 1, most: int = 1) -> list[int]:
    """Return which requests give way, at most ``most``."""
    return list(give_way(principal, count, places))[:most]


def test_those_without_a_name_give_way_to_all_that_have_one_youngest_first() -> None:
    places = line("a", "", "a", "", "a")
    assert dropped("b", places) == [4]
    assert dropped("a", places) == [4]
    assert dropped("b", places, most=2) == [4, 2]


def test_nobody_gives_way_to_those_without_a_name() -> None:
    assert dropped("", line("a", "a", "", "")) == []


def test_whoever_has_most_gives_way_to_one_that_has_fewer_even_then() -> None:
    assert dropped("c", line("a", "b", "b", "b", "a")) == [4]
    assert dropped("a", line("a", "b", "b", "b")) == [4]
    assert dropped("a", line("a", "b", "b")) == []
    assert dropped("a", line("a", "a", "a")) == []


def test_places_are_taken_from_whoever_has_most_until_all_have_as_many() -> None:
    assert dropped("c", line("a", "b", "b", "b", "b", "a", "a"), most=9) == [5, 7, 4, 6, 3]
    assert dropped("c", line("a", "a", "a", "a"), count=2, most=9) == [4, 3]


def test_two_cannot_take_each_others_places_in_turn() -> None:
    places = line("a", "b", "b")
    (gone,) = dropped("c", places)
    places = [each for each in places if each[1] != gone] + line("c")
    assert dropped("b", places) == []


def test_a_request_goes_as_a_whole() -> None:
    assert dropped("b", line("a", ("a", 3)), most=9) == [2]


def test_what_has_begun_keeps_all_its_places() -> None:
    assert dropped("b", [("a", None), ("a", None), ("a", 4)]) == [4]
    assert dropped("b", [("a", None), ("a", None)]) == []
