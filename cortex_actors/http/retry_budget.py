"""How many requests may be tried again elsewhere, so that retries never make an outage worse. Pure.

Finagle's and gRPC's way: every request earns a fraction of a retry, every retry costs one.
"""

from __future__ import annotations

from typing import Final, final

EARNED: Final = 0.2
RESERVE: Final = 10.0
MOST: Final = 100.0


@final
class RetryBudget:
    """One front-end process's. One thread."""

    def __init__(self) -> None:
        self._balance = RESERVE

    def deposit(self) -> None:
        """A request has begun."""
        self._balance = min(self._balance + EARNED, MOST)

    def withdraw(self) -> bool:
        """Return whether a request may be tried again now."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
