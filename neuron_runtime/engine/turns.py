"""Whose turn it is, where principals take turns. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Turns(Generic[T]):
    """What waits, by principal: these take turns, and each one's own keep their order.

    Those without a name share the turn of one, which comes when nobody else waits.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[T]:
        return (each for line in self._lines.values() for each in line)

    def push(self, principal: str, each: T) -> None:
        """Let one wait behind its principal's others."""
        self._lines.setdefault(principal, deque()).append(each)

    def push_front(self, principal: str, each: T) -> None:
        """Let one wait ahead of its principal's others."""
        self._lines.setdefault(principal, deque()).appendleft(each)

    def head(self) -> T | None:
        """Return whose turn it is; None if nobody waits."""
        return self._lines[self._next()][0] if self._lines else None

    def take(self, principal: str, each: T) -> None:
        """Give one its turn; its principal's next comes after everybody else's.

        Raises:
            LookupError: It does not wait.
            ValueError: So also.
        """
        self.remove(principal, each)
        line = self._lines.pop(principal, None)
        if line is not None:
            self._lines[principal] = line

    def remove(self, principal: str, each: T) -> None:
        """Let one that waits wait no more.

        Raises:
            LookupError: It does not wait.
            ValueError: So also.
        """
        line = self._lines[principal]
        line.remove(each)
        if not line:
            del self._lines[principal]

    def _next(self) -> str:
        return next(filter(None, self._lines), "")
