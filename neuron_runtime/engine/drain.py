"""The end of an engine's service: what runs is finished, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from transports.failures import FailureCode
from transports.loop import Cancellable, Loop
from transports.schemas.link import Failure

LATE = Failure(
    FailureCode.SHUTTING_DOWN,
    "the model is being unloaded and the request was not finished in time",
)
"""What is told to whoever has not been answered when the time is over."""


@final
class Drain:
    """Calls whoever has asked for it once all is over. Engine's thread only.

    ``end_all`` ends what is still there when the time is over; it may call ``over``.
    """

    def __init__(self, loop: Loop, end_all: Callable[[], None]) -> None:
        self._loop = loop
        self._end_all = end_all
        self._told: list[Callable[[], None]] = []
        self._limit: Cancellable | None = None

    def begin(self, grace_s: float, on_drained: Callable[[], None]) -> None:
        """Let what runs go on for so long; ``over`` is to be called whenever nothing does."""
        self._told.append(on_drained)
        self._limit = self._loop.call_later(grace_s, self._end_all)

    def call_off(self) -> None:
        """Serve again: nothing is ended any more."""
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def over(self) -> None:
        """Nothing is left to be done; this may be said again and again."""
        told, self._told = self._told, []
        for on_drained in told:
            on_drained()
