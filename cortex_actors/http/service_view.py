"""The daemon's pushed state as the JSON objects that clients read; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transports.schemas.fleet import ModelState, NeuronState, ServiceState

_BEST_FIRST = (
    "ready",
    "recovering",
    "starting",
    "preparing",
    "unloading",
    "unloaded",
    "failed",
)


def models(state: ServiceState) -> list[dict[str, Any]]:
    """Return every model, then every alias, as OpenAI model objects with their status."""
    replicas: dict[str, list[ModelState]] = {}
    for model in state.models:
        replicas.setdefault(model.id, []).append(model)
    listed = {id_: _model(id_, states) for id_, states in replicas.items()}
    aliases = [
        {**listed[target], "id": alias, "alias_of": target}
        for alias, target in state.aliases.items()
        if target in listed
    ]
    return [*listed.values(), *aliases]


def neurons(state: ServiceState) -> list[dict[str, Any]]:
    """Return every neuron with its devices and models."""
    return [neuron(each) for each in state.neurons]


def neuron(state: NeuronState) -> dict[str, Any]:
    """Return one neuron."""
    return {
        "name": state.name,
        "state": state.state,
        "hostname": state.hostname,
        "version": state.version,
        "uptime_s": round(state.uptime_s, 1),
        "age_s": round(state.age_s, 3),
        "devices": [
            {
                "id": device.id,
                "kind": device.kind,
                "name": device.name,
                "memory_total_mb": device.memory_total_mb,
                "memory_free_mb": device.memory_free_mb,
            }
            for device in state.devices
        ],
        "models": replicas(state.models),
    }


def replicas(states: Iterable[ModelState]) -> list[dict[str, Any]]:
    """Return models as operators see them: one entry per model and neuron."""
    return [{"id": state.id, **_replica(state)} for state in states]


def _model(id_: str, states: list[ModelState]) -> dict[str, Any]:
    best = min(states, key=_rank)
    view: dict[str, Any] = {
        "id": id_,
        "object": "model",
        "created": best.created,
        "owned_by": "cortex",
        "status": best.state,
        "progress": round(best.progress, 3),
        "context_length": best.context_length,
        "replicas": [_replica(state) for state in states if state.neuron],
    }
    if best.error:
        view["error"] = best.error
    return view


def _replica(state: ModelState) -> dict[str, Any]:
    view: dict[str, Any] = {
        "neuron": state.neuron,
        "status": state.state,
        "progress": round(state.progress, 3),
        "devices": list(state.devices),
        "running": state.running,
        "waiting": state.waiting,
        "capacity": state.capacity,
        "context_length": state.context_length,
        "restarts": state.restarts,
    }
    if state.error:
        view["error"] = state.error
    return view


def _rank(state: ModelState) -> int:
    return _BEST_FIRST.index(state.state) if state.state in _BEST_FIRST else len(_BEST_FIRST)
