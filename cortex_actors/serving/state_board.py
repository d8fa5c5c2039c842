"""One immutable snapshot, written by one actor and read by anyone at any time (G7)."""

from __future__ import annotations

from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class StateBoard(Generic[T]):
    """Holds the latest snapshot. Reading is one attribute load and never waits.

    SAFETY: there is one writer and the snapshot is immutable, so replacing the reference is enough.
    """

    __slots__ = ("_current",)

    def __init__(self, first: T) -> None:
        self._current = first

    def read(self) -> T:
        """Return the latest snapshot. Any thread."""
        return self._current

    def write(self, snapshot: T) -> None:
        """Replace the snapshot. Only the owning actor."""
        self._current = snapshot
