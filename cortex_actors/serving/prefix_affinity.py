"""Which replica has seen a prompt that begins like this one. Pure.

A replica that has a prompt's first blocks in its cache need not compute them again. The memory is
bounded; what was not seen for long is forgotten first, as the replicas' own caches do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, final

MOST_BLOCKS: Final = 16_384
MOST_NEURONS: Final = 4


@final
class PrefixAffinity:
    """The latest neurons to have seen each leading block, for every model together."""

    def __init__(self, most_blocks: int = MOST_BLOCKS) -> None:
        self._most = most_blocks
        self._seen: OrderedDict[tuple[str, int], tuple[str, ...]] = OrderedDict()

    def longest(self, model: str, prefix: Sequence[int]) -> tuple[str, ...]:
        """Return the neurons that have seen most of ``prefix``; none if it is new to all."""
        for block in reversed(prefix):
            neurons = self._seen.get((model, block))
            if neurons:
                return neurons
        return ()

    def saw(self, model: str, prefix: Sequence[int], neuron: str) -> None:
        """The request with this prefix goes to ``neuron``."""
        for block in prefix:
            known = self._seen.pop((model, block), ())
            others = tuple(each for each in known if each != neuron)
            self._seen[model, block] = (neuron, *others[: MOST_NEURONS - 1])
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def __len__(self) -> int:
        return len(self._seen)
