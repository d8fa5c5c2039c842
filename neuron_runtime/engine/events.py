"""What a step, or an end, does to sequences."""

from __future__ import annotations

import msgspec

from neuron_runtime.engine.sequence import Ending, Sequence


class Drawn(msgspec.Struct, frozen=True):
    """Output token ``index`` of this sequence is ``token``; never the token that ends it.

    ``logprob`` and ``top`` are there if the sampling asks for them.
    """

    sequence: Sequence
    index: int
    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """The one terminal event of a sequence."""

    sequence: Sequence
    end: Ending


Event = Drawn | Ended
Events = tuple[Event, ...]
