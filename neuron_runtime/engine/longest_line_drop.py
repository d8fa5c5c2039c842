"""Who gives up a place in a full queue to a newcomer. Pure.

Whoever has the most requests loses the youngest of them, as in fair queueing with "longest queue
drop" (Suter et al., 1999; ``fq_codel`` does the same with packets): otherwise one principal could
fill the queue, and whoever comes later would be refused before it could have its share of seats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from neuron_runtime.engine.sequence import Request, Sequence

_Line = dict[Request, list[Sequence]]


def dropped_for(
    principal: str, count: int, places: int, alive: Iterable[Sequence]
) -> list[Sequence]:
    """Return whom to drop for ``count`` sequences that lack ``places``; none if it is not enough.

    Those without a name give way to all that have one, and nobody gives way to them. A principal
    with a name gives way to one that holds fewer places, its new ones included. A request of which
    anything has begun keeps all its places. ``alive`` is in order of arrival.
    """
    if not principal:
        return []
    held: Counter[str] = Counter()
    lines: dict[str, _Line] = {}
    for each in alive:
        held[each.principal] += 1
        if not each.request.begun:
            lines.setdefault(each.principal, {}).setdefault(each.request, []).append(each)
    dropped: list[Sequence] = []
    while len(dropped) < places:
        longest = _longest(lines, held, more_than=held[principal] + count)
        if longest is None:
            return []
        _, youngest = lines[longest].popitem()
        held[longest] -= len(youngest)
        dropped += youngest
    return dropped


def _longest(lines: dict[str, _Line], held: Counter[str], more_than: int) -> str | None:
    """Return whose line gives up a place; the nameless first, then whoever holds most."""
    if lines.get(""):
        return ""
    named = [name for name, line in lines.items() if line and held[name] > more_than]
    return max(named, key=lambda name: held[name], default=None)
