"""How long readers of a text waited between its pieces."""

from __future__ import annotations

from typing import Final

from transports.schemas.body import Body

GAP_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the classes in which gaps are counted; a last class has none."""


class TextGaps(Body, frozen=True):
    """``counts[i]`` gaps lie within bound ``i`` and above the one before; all last ``total_s``.

    What has another number of classes is of another version, and nothing that can be added up.
    """

    counts: tuple[int, ...]
    total_s: float
