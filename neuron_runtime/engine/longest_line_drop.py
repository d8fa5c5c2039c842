"""Who gives up a place in a full queue to a newcomer. Pure.

Whoever has the most requests loses the youngest of them, as in fair queueing with "longest queue
drop" (Suter et al., 1999; ``fq_codel`` does the same with packets): otherwise one principal could
fill the queue, and whoever comes later would be refused before it could have its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

from neuron_runtime.engine.sequence import Sequence

GIVES_WAY = "others who ask for less go first; try again later"
"""What somebody is told who gave up a place."""

T = TypeVar("T")


def give_way(principal: str, count: int, places: Iterable[tuple[str, T | None]]) -> Iterator[T]:
    """Yield what gives way to ``count`` new places of ``principal``, one after the other.

    Each of ``places``, in order of arrival, is whose it is and the request that it is for, None if
    of that anything has begun: it keeps its places then, and gives up all of them otherwise.
    Those without a name give way to all that have one, and nobody gives way to them. A principal
    with a name gives way to one that holds fewer places, its new ones included.
    """
    if not principal:
        return
    held: Counter[str] = Counter()
    lines: dict[str, Counter[T]] = {}
    for name, request in places:
        held[name] += 1
        if request is not None:
            lines.setdefault(name, Counter())[request] += 1
    while (longest := _longest(lines, held, more_than=held[principal] + count)) is not None:
        youngest, size = lines[longest].popitem()
        held[longest] -= size
        yield youngest


def dropped_for(
    principal: str, count: int, lacking: int, alive: Collection[Sequence]
) -> list[Sequence]:
    """Return whom to drop for ``count`` sequences that lack places; none if it is not enough."""
    places = ((each.principal, None if each.request.begun else each.request) for each in alive)
    dropped: list[Sequence] = []
    for request in give_way(principal, count, places):
        dropped += [each for each in alive if each.request is request]
        if len(dropped) >= lacking:
            return dropped
    return []


def _longest(lines: dict[str, Counter[T]], held: Counter[str], more_than: int) -> str | None:
    """Return whose line gives up a place; the nameless first, then whoever holds most."""
    if lines.get(""):
        return ""
    named = [name for name, line in lines.items() if line and held[name] > more_than]
    return max(named, key=lambda name: held[name], default=None)
