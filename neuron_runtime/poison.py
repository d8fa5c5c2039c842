"""Requests that take groups down with them. Pure; owned by the engine's loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

DEATHS_ALLOWED = 1


@final
class PoisonLedger:
    """Counts, for each living request, the group deaths that it has been part of (guarantee G6).

    A request seen in two deaths is poisonous: refuse it and let the others go on. ``forget`` every
    request at its end, whatever its end was; the ledger then holds no more than what runs.
    """

    def __init__(self) -> None:
        self._deaths: dict[str, int] = {}

    def group_died(self, requests: Iterable[str]) -> frozenset[str]:
        """Charge a death to the requests that were in the step; return those now poisonous."""
        charged = frozenset(requests)
        for request in charged:
            self._deaths[request] = self._deaths.get(request, 0) + 1
        return frozenset(request for request in charged if self.is_poisonous(request))

    def is_poisonous(self, request: str) -> bool:
        """Return whether this request may not run again."""
        return self._deaths.get(request, 0) > DEATHS_ALLOWED

    def forget(self, request: str) -> None:
        """The request has had its terminal event."""
        self._deaths.pop(request, None)

    def __len__(self) -> int:
        return len(self._deaths)
