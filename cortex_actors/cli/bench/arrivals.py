"""When the requests of an open loop are due; pure."""

from __future__ import annotations

import random
from itertools import accumulate


def poisson_arrivals(rate: float, count: int, seed: int) -> tuple[float, ...]:
    """Return ``count`` times in seconds, at random but on average ``rate`` in a second.

    Raises:
        ValueError: The rate is not positive.
    """
    if rate <= 0:
        raise ValueError(f"a rate of {rate} requests a second")
    source = random.Random(seed)  # noqa: S311 - no secrets
    return tuple(accumulate(source.expovariate(rate) for _ in range(count)))
