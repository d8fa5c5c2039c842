"""How long a generation may wait without news; nothing limits how long it goes on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from transports.failures import FailureCode
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds without news after which a request is given up; no limit is for its whole time.

    ``lease_s`` is for a lease, which includes loading the model; ``first_token_s`` for an engine's
    first token, from the question, with its queue and the prefill, and for a whole answer that is
    not text; ``stall_s`` for each further token.
    """

    lease_s: float = 1800.0
    first_token_s: float = 3600.0
    stall_s: float = 300.0


_NO_LEASE: Final = "no engine was found in time"


@final
class ProgressWatch:
    """Told of each step ahead; says when the next is overdue. ``now`` is monotonic seconds."""

    def __init__(self, deadlines: Deadlines, now: float) -> None:
        self._deadlines = deadlines
        engine = "the model's engine"
        self._silent = f"{engine} did not begin to answer within {deadlines.first_token_s:g} s"
        self._stalled = f"{engine} made no progress for {deadlines.stall_s:g} s"
        self.lease_asked(now)

    def lease_asked(self, now: float) -> None:
        """A lease is awaited."""
        self._due = now + self._deadlines.lease_s
        self._message = _NO_LEASE

    def engine_asked(self, now: float) -> None:
        """The first token is awaited, of this engine."""
        self._due = now + self._deadlines.first_token_s
        self._message = self._silent

    def progressed(self, now: float) -> None:
        """A token has come."""
        self._due = now + self._deadlines.stall_s
        self._message = self._stalled

    def overdue_s(self, now: float) -> float:
        """Return for how long the next step has been overdue; not above zero while it is not."""
        return now - self._due

    def failure(self) -> Failure:
        """Return what the client is told of a wait that was too long."""
        return Failure(FailureCode.DEADLINE_EXCEEDED, self._message)
