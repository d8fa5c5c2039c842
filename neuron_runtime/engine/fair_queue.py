"""Who is next: seats are shared out among principals, not among requests. Pure.

A named principal goes before those without a name, who get what is left over. Among equals the one
with the fewest seats is next, then the one that goes on with what it had begun, then the one that
was served the fewest tokens since it last had nothing to do. Each principal's own requests keep
their order of arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from neuron_runtime.engine.sequence import Sequence


@dataclass(slots=True)
class _Line:
    served: int
    seats: int = 0
    waiting: deque[Sequence] = field(default_factory=deque)


@final
class FairQueue:
    """The waiting sequences of all principals, and how many seats each of these has."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for line in self._lines.values() for sequence in line.waiting)

    def push(self, sequence: Sequence) -> None:
        """Let a newcomer wait behind its principal's others."""
        self._line(sequence.principal).waiting.append(sequence)
        self._length += 1

    def push_front(self, sequence: Sequence) -> None:
        """Let one that had a seat wait ahead of its principal's others."""
        self._line(sequence.principal).waiting.appendleft(sequence)
        self._length += 1

    def remove(self, sequence: Sequence) -> None:
        """Take one out that waits, wherever it is."""
        self._lines[sequence.principal].waiting.remove(sequence)
        self._length -= 1
        self._drop_if_idle(sequence.principal)

    def peek(self) -> Sequence | None:
        """Return the one that is next for a seat."""
        return min(
            (line.waiting[0] for line in self._lines.values() if line.waiting),
            key=self._rank,
            default=None,
        )

    def seats(self, principal: str) -> int:
        """Return how many seats a principal has."""
        line = self._lines.get(principal)
        return line.seats if line else 0

    def seat(self, principal: str) -> None:
        """The principal has one seat more."""
        self._line(principal).seats += 1

    def unseat(self, principal: str) -> None:
        """The principal has one seat less."""
        self._lines[principal].seats -= 1
        self._drop_if_idle(principal)

    def serve(self, principal: str, tokens: int) -> None:
        """Tokens have been computed for a principal that has a seat."""
        self._lines[principal].served += tokens

    def _rank(self, head: Sequence) -> tuple[bool, int, bool, int, int]:
        line = self._lines[head.principal]
        return (not head.principal, line.seats, head.started is None, line.served, head.id)

    def _line(self, principal: str) -> _Line:
        line = self._lines.get(principal)
        if line is None:
            # Not from 0: a newcomer has no claim on what others were served before it came.
            served = min((each.served for each in self._lines.values()), default=0)
            line = self._lines[principal] = _Line(served)
        return line

    def _drop_if_idle(self, principal: str) -> None:
        line = self._lines[principal]
        if not line.seats and not line.waiting:
            del self._lines[principal]
