"""What became of the latest requests, for operators who ask. Pure; bounded.

A request has an id of its own, which begins with the id that its client was told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from typing import Final, final

from transports.schemas.fleet import Explanation, LeaseSettled, TrailStep

MOST_REQUESTS: Final = 2000
MOST_STEPS: Final = 32
WAITS: Final = "waits"
LEASED: Final = "leased"
"""Events: no replica is ready, and one takes the request."""


@dataclass(slots=True)
class _Trail:
    model: str
    began: float
    steps: list[TrailStep] = field(default_factory=list)
    settled: LeaseSettled | None = None


@final
class RequestTrail:
    """The steps of each request. Times are monotonic seconds; those shown are since it came."""

    def __init__(self, most: int = MOST_REQUESTS) -> None:
        self._most = most
        self._trails: OrderedDict[str, _Trail] = OrderedDict()

    def note(
        self,
        request_id: str,
        model: str,
        event: str,
        now: float,
        neuron: str = "",
        detail: str = "",
    ) -> None:
        """Something has happened to this request."""
        trail = self._trails.get(request_id)
        if trail is None:
            trail = self._trails[request_id] = _Trail(model, now)
            if len(self._trails) > self._most:
                self._trails.popitem(last=False)
        if event in (WAITS, LEASED):
            # It goes on elsewhere, so what became of its last lease is not what became of it.
            trail.settled = None
        if len(trail.steps) < MOST_STEPS:
            trail.steps.append(TrailStep(round(now - trail.began, 6), event, neuron, detail))

    def settled(self, request_id: str, settled: LeaseSettled) -> None:
        """Its lease has ended so, and the request with it unless something follows."""
        trail = self._trails.get(request_id)
        if trail is not None:
            trail.settled = settled

    def explain(self, request_id: str) -> Explanation | None:
        """Return the latest request of this id, or whose own id begins with it and a dot."""
        found = self._trails.get(request_id)
        name = request_id
        if found is None:
            own = [each for each in self._trails if each.rpartition(".")[0] == request_id]
            if not own:
                return None
            name, found = own[-1], self._trails[own[-1]]
        return Explanation(
            name, found.model, tuple(found.steps), found.settled, _load_s(found.steps)
        )


def _load_s(steps: Sequence[TrailStep]) -> float:
    """How long the last lease was waited for: from the first wait right before it."""
    before = list(dropwhile(lambda step: step.event != LEASED, reversed(steps)))
    waits = list(takewhile(lambda step: step.event == WAITS, before[1:]))
    return round(before[0].at_s - waits[-1].at_s, 6) if waits else 0.0
