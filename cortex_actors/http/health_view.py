"""How the fleet is, in one word and with the reasons; pure.

degraded: no neuron is connected. impaired: a model on a connected neuron cannot serve. Otherwise
ok; a neuron that says nothing of a fault has none.
"""

from __future__ import annotations

from typing import Any, Final

from transports.schemas.fleet import ServiceState

_CANNOT_SERVE: Final = frozenset({"failed", "recovering"})


def health(state: ServiceState | None) -> dict[str, Any]:
    """Return the verdict; before the daemon has said anything, only that this process lives."""
    if state is None or not state.neurons:
        return {"status": "ok" if state is None or state.ready else "degraded"}
    up = [neuron for neuron in state.neurons if neuron.state == "up"]
    unservable = [
        {
            "node": neuron.name,
            "model": model.id,
            "reason": model.state,
            **({"detail": model.error} if model.error else {}),
        }
        for neuron in up
        for model in neuron.models
        if model.state in _CANNOT_SERVE
    ]
    status = "degraded" if not up else "impaired" if unservable else "ok"
    verdict: dict[str, Any] = {
        "status": status,
        "nodes": {"healthy": len(up), "total": len(state.neurons)},
    }
    return {**verdict, "unservable": unservable} if unservable else verdict
