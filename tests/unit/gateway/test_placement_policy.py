"""Which neuron loads a model, and which models make room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct

from cortex_actors.gateway.placement_policy import (
    Assessment,
    Verdict,
    Wanted,
    assess,
    best,
    obstacle,
)
from cortex_actors.gateway.room import Resident, Room
from cortex_actors.gateway.victims import Strategy
from transports.schemas.fleet import DeviceState, ModelSpec

SPEC = ModelSpec("m", "file:///m.gguf")


def wanted(memory_mb: int = 500, devices: int = 1, **more: object) -> Wanted:
    spec = ModelSpec("m", "file:///m.gguf", min_devices=devices)
    return Wanted(spec, memory_mb, **more)  # type: ignore[arg-type]


def room(
    name: str, *residents: Resident, free_mb: Sequence[int] = (1000,), up: bool = True
) -> Room:
    devices = tuple(
        DeviceState(f"d{number}", "cuda", "A GPU", 1000, free, "8.6")
        for number, free in enumerate(free_mb)
    )
    return Room(name, up, devices, residents)


def resident(model: str, memory_mb: int = 600, **more: object) -> Resident:
    return Resident(model, ("d0",), memory_mb, **more)  # type: ignore[arg-type]


def chosen(want: Wanted, *rooms: Room, strategy: Strategy = "cost") -> Assessment:
    found = best([assess(want, each, strategy) for each in rooms])
    assert found is not None
    return found


def victims(want: Wanted, there: Room, strategy: Strategy = "cost") -> set[str]:
    return {each.model for each in assess(want, there, strategy).victims}


# -- which neuron ---------------------------------------------------------------------------------


def test_a_free_fit_comes_before_an_eviction_however_much_room_that_makes() -> None:
    crowded = room("a", resident("old"), free_mb=(400, 1000))
    assert chosen(
        wanted(), room("z", free_mb=(500,)), room("b", resident("x"), free_mb=(400,))
    ) == (assess(wanted(), room("z", free_mb=(500,)), "cost"))
    assert chosen(wanted(), crowded).verdict is Verdict.FREE


def test_the_most_free_memory_wins_and_then_the_name() -> None:
    rooms = [room("b"), room("c"), room("a", free_mb=(900,))]
    assert chosen(wanted(), *rooms).neuron == chosen(wanted(), *rooms[::-1]).neuron == "b"


def test_the_cheaper_eviction_wins() -> None:
    dear = room("a", resident("x", cost_s=9.0), free_mb=(400,))
    cheap = room("b", resident("y", cost_s=2.0), free_mb=(400,))
    assert chosen(wanted(), dear, cheap).neuron == "b"


def test_a_model_goes_where_it_is_warm_unless_evictions_there_cost_more_than_that_saves() -> None:
    free, warm = assess(wanted(), room("a"), "cost"), assess(wanted(), room("b"), "cost", 4.0)
    assert best([free, warm]) is warm

    def evicting(name: str, cost_s: float, saved_s: float = 0.0) -> Assessment:
        there = room(name, resident("x", cost_s=cost_s), free_mb=(400,))
        return assess(wanted(), there, "cost", saved_s)

    assert best([evicting("a", 2.0), evicting("b", 5.0, 4.0)]) == evicting("b", 5.0, 4.0)
    assert best([evicting("a", 2.0), evicting("b", 7.0, 4.0)]) == evicting("a", 2.0)
    assert best([evicting("b", 0.0, 9.0), free]) is free


def test_pinned_on_restricts_and_does_not_protect() -> None:
    pinned = wanted(pinned_on=("b",))
    assert chosen(pinned, room("a"), room("b", free_mb=(600,))).neuron == "b"
    assert assess(pinned, room("a"), "cost").verdict is Verdict.NEVER


def test_a_group_fits_by_its_share_of_each_device() -> None:
    """Comparing the total with one device's memory would never let it fit."""
    assert chosen(wanted(1600, devices=2), room("a", free_mb=(1000, 1000))).devices == ("d0", "d1")
    assert assess(wanted(1600, devices=2), room("a"), "cost").verdict is Verdict.NEVER


def test_a_group_has_its_devices_alone() -> None:
    shared = room("a", resident("small", 10), free_mb=(990, 1000))
    assert victims(wanted(800, devices=2), shared) == {"small"}


def test_each_device_must_be_large_and_new_enough() -> None:
    spec = ModelSpec("m", "file:///m.gguf", min_device_vram_mb=2000)
    assert assess(Wanted(spec, 100), room("a"), "cost").verdict is Verdict.NEVER
    newer = wanted(min_compute_capability="9.0")
    found = assess(newer, room("a"), "cost")
    assert found.verdict is Verdict.NEVER
    assert found.why == (
        "it needs 1 device(s) of at least 500 MB and compute capability 9.0;"
        " there are: d0 (1000 MB)"
    )


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("9.0", Verdict.FREE), ("10.0", Verdict.FREE), ("9.x", Verdict.FREE), ("", Verdict.NEVER)]
    + [(odd, Verdict.NEVER) for odd in ("8.9", "gfx90a", "x.9")],
)
def test_a_capability_is_compared_by_its_numbers_whatever_else_it_says(
    said: str, verdict: Verdict
) -> None:
    there = room("a")
    there = replace(there, devices=(replace_struct(there.devices[0], compute_capability=said),))
    assert assess(wanted(min_compute_capability="9.0"), there, "cost").verdict is verdict


def test_what_is_promised_and_not_seen_yet_is_taken() -> None:
    loading = resident("coming", settled=False)
    assert assess(wanted(), room("a", loading), "cost").verdict is Verdict.WAIT


def test_memory_that_others_use_counts_though_no_model_has_it() -> None:
    assert assess(wanted(), room("a", free_mb=(300,)), "cost").verdict is Verdict.HELD


def test_a_lying_device_makes_no_room() -> None:
    assert assess(wanted(), room("a", free_mb=(10**9,)), "cost").verdict is Verdict.FREE
    assert assess(wanted(1001), room("a", free_mb=(10**9,)), "cost").verdict is Verdict.NEVER
    assert assess(wanted(), room("a", free_mb=(-5,)), "cost").verdict is Verdict.HELD


def test_what_could_and_is_not_up_is_told_from_what_never_can() -> None:
    """H01 and H02."""
    assert assess(wanted(), room("a", up=False), "cost").verdict is Verdict.DOWN
    assert assess(wanted(5000), room("a", up=False), "cost").verdict is Verdict.NEVER
    assert best([assess(wanted(), room("a", up=False), "cost")]) is None


def test_of_a_neuron_that_never_answered_everything_is_possible_but_what_is_pinned_elsewhere() -> (
    None
):
    unknown = Room("a", False, (), known=False)
    assert assess(wanted(5000, 8), unknown, "cost").verdict is Verdict.DOWN
    assert assess(wanted(pinned_on=("b",)), unknown, "cost").verdict is Verdict.NEVER


def test_a_neuron_without_the_models_harness_never_runs_it_unless_it_does_not_say_what_it_has() -> (
    None
):
    want = wanted(harness="torch")
    for has, verdict in (
        (("torch",), Verdict.FREE),
        (None, Verdict.FREE),
        (("other",), Verdict.NEVER),
        ((), Verdict.NEVER),
    ):
        there = replace(room("a"), harnesses=has)
        found = assess(want, there, "cost")
        assert (found.verdict, obstacle(want, there) == "") == (verdict, verdict is Verdict.FREE)
    assert "it needs the harness torch; there are: none" in found.why


# -- who goes -------------------------------------------------------------------------------------


def test_one_goes_where_one_is_enough() -> None:
    there = room("a", resident("x", 300), resident("y", 300), resident("z", 300), free_mb=(100,))
    assert len(victims(wanted(400), there)) == 1


def test_the_oldest_goes_by_age() -> None:
    """G01."""
    there = room(
        "a",
        resident("new", 400, last_used=9.0),
        resident("old", 400, last_used=1.0),
        free_mb=(200,),
    )
    assert victims(wanted(), there, "lru") == {"old"}


def test_the_lowest_class_goes_by_priority_and_the_oldest_within_it() -> None:
    there = room(
        "a",
        resident("high", 300, priority=100, last_used=1.0),
        resident("low", 300, priority=50, last_used=9.0),
        resident("lower", 300, priority=50, last_used=5.0),
        free_mb=(100,),
    )
    assert victims(wanted(400), there, "priority") == {"lower"}


def test_by_cost_the_one_that_is_missed_least_goes() -> None:
    there = room(
        "a", resident("x", 400, cost_s=30.0), resident("y", 400, cost_s=3.0), free_mb=(200,)
    )
    assert victims(wanted(), there) == {"y"}


@pytest.mark.parametrize(
    ("incoming", "there", "may"),
    [
        (200, 200, True),  # G05 and G09: equals take each other's place
        (200, 300, False),  # G06: a lower class never takes a higher one's
        (300, 300, True),  # G07
        (300, 200, True),
    ],
)
def test_classes(incoming: int, there: int, may: bool) -> None:
    full = room("a", resident("x", 900, priority=there), free_mb=(100,))
    verdict = assess(wanted(priority=incoming), full, "lru").verdict
    assert verdict is (Verdict.EVICT if may else Verdict.HELD)


def test_age_is_compared_only_among_those_that_may_go() -> None:
    """G08."""
    there = room(
        "a",
        resident("flagship", 300, priority=300, last_used=0.0),
        resident("x", 300, priority=200, last_used=5.0),
        resident("y", 300, priority=200, last_used=4.0),
        free_mb=(100,),
    )
    assert victims(wanted(400, priority=200), there, "lru") == {"y"}


def test_the_busy_and_the_pinned_stay() -> None:
    busy = room("a", resident("x", 900, busy=True), free_mb=(100,))
    assert assess(wanted(), busy, "cost").verdict is Verdict.WAIT
    pinned = room("a", resident("x", 900, pinned=True), free_mb=(100,))
    assert assess(wanted(), pinned, "cost").verdict is Verdict.HELD


def test_many_small_models_are_compared_in_no_time() -> None:
    crowd = [resident(f"r{number:02}", 20, cost_s=float(number)) for number in range(45)]
    assert victims(wanted(400), room("a", *crowd, free_mb=(100,))) == {
        f"r{number:02}" for number in range(15)
    }
