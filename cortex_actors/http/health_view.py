"""How the fleet is, in one word and with the reasons; pure.

degraded: no neuron is connected. impaired: a model on a connected neuron cannot serve. Otherwise
ok; a neuron that says nothing of a fault has none.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from cortex_actors.http.answers import HealthVerdict, NodeCounts, Unservable
from transports.schemas.fleet import ServiceState

_CANNOT_SERVE: Final = frozenset({"failed", "recovering"})


def health(state: ServiceState | None) -> HealthVerdict:
    """Return the verdict; before the daemon has said anything, only that this process lives."""
    if state is None or not state.neurons:
        return HealthVerdict("ok" if state is None or state.ready else "degraded")
    up = [neuron for neuron in state.neurons if neuron.state == "up"]
    unservable = [
        Unservable(neuron.name, model.id, model.state, model.error or UNSET)
        for neuron in up
        for model in neuron.models
        if model.state in _CANNOT_SERVE
    ]
    return HealthVerdict(
        "degraded" if not up else "impaired" if unservable else "ok",
        NodeCounts(healthy=len(up), total=len(state.neurons)),
        unservable or UNSET,
    )
