"""Which idle models make room for another. Pure.

Every strategy names the best sufficient set; none names a model that need not go. With more
candidates than can be compared in all combinations, the best of them by the same strategy are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Literal

from cortex_actors.gateway.room import Resident

Strategy = Literal["cost", "lru", "priority"]

_MOST_COMPARED = 12


def may_displace(incoming: int, resident: Resident) -> bool:
    """Whether a model of priority ``incoming`` may ever take the place of ``resident``."""
    return not resident.pinned and resident.priority <= incoming


def cheapest(
    candidates: Sequence[Resident], suffices: Callable[[frozenset[str]], bool], strategy: Strategy
) -> tuple[Resident, ...] | None:
    """Return the best set of victims that ``suffices``; None if not even all of them do.

    ``suffices`` must hold for every superset of a set for which it holds.
    """
    rank = _RANKS[strategy]
    compared = sorted(candidates, key=lambda each: rank((each,)))
    if not suffices(_names(compared)):
        return None
    for worst in compared[::-1]:
        rest = [each for each in compared if each is not worst]
        if len(compared) > _MOST_COMPARED and suffices(_names(rest)):
            compared = rest
    if len(compared) > _MOST_COMPARED:
        return tuple(compared)  # not one of them can be spared
    return min(_least_sets(compared, suffices), key=rank)


def _least_sets(
    candidates: Sequence[Resident], suffices: Callable[[frozenset[str]], bool]
) -> list[tuple[Resident, ...]]:
    """Every set that suffices and of which none can be spared."""
    found: list[tuple[Resident, ...]] = []
    known: list[frozenset[str]] = []
    for size in range(len(candidates) + 1):
        for chosen in combinations(candidates, size):
            names = _names(chosen)
            # PERF: what contains a set that suffices need not be tried, for it ranks behind that.
            if not any(each <= names for each in known) and suffices(names):
                found.append(chosen)
                known.append(names)
    return found


def _names(chosen: Sequence[Resident]) -> frozenset[str]:
    return frozenset(each.model for each in chosen)


def _by_cost(chosen: tuple[Resident, ...]) -> Any:
    names = tuple(sorted(each.model for each in chosen))
    return sum(each.cost_s for each in chosen), len(chosen), names


def _by_age(chosen: tuple[Resident, ...]) -> Any:
    names = tuple(sorted(each.model for each in chosen))
    return sorted((each.last_used for each in chosen), reverse=True), len(chosen), names


def _by_priority(chosen: tuple[Resident, ...]) -> Any:
    return sorted((each.priority for each in chosen), reverse=True), _by_age(chosen)


_RANKS: dict[str, Callable[[tuple[Resident, ...]], Any]] = {
    "cost": _by_cost,
    "lru": _by_age,
    "priority": _by_priority,
}
