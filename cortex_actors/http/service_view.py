"""The daemon's pushed state as the objects that clients are answered with; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from cortex_actors.http.answers import Model, Replica
from cortex_actors.http.fleet_answers import Device, HostedModel, Neuron, SleepingModel
from transports.schemas.fleet import DeviceState, ModelCard, ModelState, NeuronState, ServiceState

ValueT = TypeVar("ValueT")

_BEST_FIRST = (
    "ready",
    "recovering",
    "starting",
    "preparing",
    "unloading",
    "unloaded",
    "failed",
)


def models(state: ServiceState) -> list[Model]:
    """Return every model, then every alias, as OpenAI model objects with their status.

    The catalogue's order, then the models that only a neuron knows of, by name; then the aliases in
    the file's order. An alias shows the first model of its chain that is ready, else its first.
    """
    cards = {card.id: card for card in state.cards}
    found, warm, pending = _replicas(state), _warm_on(state), _pending_on(state)
    strangers = sorted({*found, *pending})
    ids = dict.fromkeys((*cards, *(model.id for model in state.models), *strangers))
    listed = {
        id_: msgspec.structs.replace(
            _model(cards.get(id_, ModelCard(id_)), found.get(id_, [])),
            warm_on=warm.get(id_, UNSET),
            pending_on=pending.get(id_, UNSET),
        )
        for id_ in ids
    }
    chains = {**{name: (target,) for name, target in state.aliases.items()}, **state.chains}
    aliases = (_alias(name, chain, listed) for name, chain in chains.items())
    return [*listed.values(), *(alias for alias in aliases if alias)]


def neuron(state: NeuronState) -> Neuron:
    """Return one neuron with its devices and models."""
    return Neuron(
        name=state.name,
        state=state.state,
        hostname=state.hostname,
        version=state.version,
        uptime_s=round(state.uptime_s, 1),
        age_s=round(state.age_s, 3),
        devices=[_device(device) for device in state.devices],
        models=hosted(state.models),
        pending=list(state.pending),
        harnesses=list(state.harnesses or ()),
        warm=[
            SleepingModel(record.model, record.weights_mb, round(record.warm_load_s, 3))
            for record in state.records
            if record.warm
        ],
        warm_mb=state.warm_mb,
        warm_used_mb=state.warm_used_mb,
    )


def hosted(states: Iterable[ModelState]) -> list[HostedModel]:
    """Return models as operators see them: one entry per model and neuron."""
    return [HostedModel(state.id, **msgspec.structs.asdict(_replica(state))) for state in states]


def _device(state: DeviceState) -> Device:
    return Device(
        id=state.id,
        kind=state.kind,
        name=state.name,
        memory_total_mb=state.memory_total_mb,
        memory_free_mb=state.memory_free_mb,
        age_s=round(state.age_s, 3),
    )


def _replicas(state: ServiceState) -> dict[str, list[ModelState]]:
    """Every model's states on neurons that are not down; its merged state where there is none."""
    found: dict[str, list[ModelState]] = {}
    for neuron in sorted(state.neurons, key=lambda neuron: neuron.name):
        for model in neuron.models if neuron.state != "down" else ():
            found.setdefault(model.id, []).append(
                model if model.neuron else msgspec.structs.replace(model, neuron=neuron.name)
            )
    for model in state.models:
        if model.id not in found or not state.neurons:
            found.setdefault(model.id, []).append(model)
    return found


def _warm_on(state: ServiceState) -> dict[str, list[str]]:
    """Every sleeping model's neurons, by name."""
    found: dict[str, list[str]] = {}
    for neuron in sorted(state.neurons, key=lambda neuron: neuron.name):
        for record in neuron.records if neuron.state != "down" else ():
            if record.warm:
                found.setdefault(record.model, []).append(neuron.name)
    return found


def _pending_on(state: ServiceState) -> dict[str, list[str]]:
    """The neurons that will load a model by themselves when its turn has come, by name."""
    found: dict[str, list[str]] = {}
    for neuron in sorted(state.neurons, key=lambda neuron: neuron.name):
        for model in neuron.pending if neuron.state != "down" else ():
            found.setdefault(model, []).append(neuron.name)
    return found


def _alias(name: str, chain: tuple[str, ...], listed: Mapping[str, Model]) -> Model | None:
    targets = [listed[target] for target in chain if target in listed]
    if not targets:
        return None
    shown = next((target for target in targets if target.status == "ready"), targets[0])
    return msgspec.structs.replace(shown, id=name, alias_of=shown.id, chain=list(chain))


def _model(card: ModelCard, states: list[ModelState]) -> Model:
    best = min(states, key=_rank, default=ModelState(card.id, "unloaded"))
    given_up = card.error if best.state in {"unloaded", "failed"} else ""
    created = card.created or min((each.created for each in states if each.created), default=0)
    contexts = [each.context_length for each in states if each.context_length > 0]
    limit = {**card.limit, **({"context": min(contexts)} if contexts else {})}
    return Model(
        id=card.id,
        object="model",
        created=created,
        owned_by="cortex",
        status="failed" if given_up else best.state,
        loaded=best.state == "ready",
        progress=round(best.progress, 3),
        context_length=limit.get("context", 0),
        capabilities=_capabilities(card, states),
        pinned=card.pinned,
        feasible_on=list(card.feasible_on),
        replicas=[_replica(state) for state in states if state.neuron],
        eta_s=_known(round(best.eta_s, 1)),
        error=_known(given_up or best.error),
        infeasible=_known(card.infeasible),
        quant=_known(card.quant),
        limit=_known(limit),
        # Clients of other servers look for the limits under these names.
        max_model_len=_known(limit.get("context", 0)),
        max_input_tokens=_known(limit.get("input", 0)),
        max_output_tokens=_known(limit.get("output", 0)),
        cost=_known(card.cost),
    )


def _capabilities(card: ModelCard, states: list[ModelState]) -> list[str]:
    """What neurons say that the model can do; before any does, what the catalogue says."""
    said = [capability for state in states for capability in state.capabilities]
    return list(dict.fromkeys(said or card.capabilities))


def _replica(state: ModelState) -> Replica:
    return Replica(
        neuron=state.neuron,
        status=state.state,
        progress=round(state.progress, 3),
        devices=list(state.devices),
        running=state.running,
        waiting=state.waiting,
        capacity=state.capacity,
        context_length=state.context_length,
        restarts=state.restarts,
        memory_mb=_known(state.memory_mb),
        eta_s=_known(round(state.eta_s, 1)),
        error=_known(state.error),
    )


def _known(value: ValueT) -> ValueT | UnsetType:
    """Return the value, unless it is 0 or empty: then nobody knows it, and it is left out."""
    return value or UNSET


def _rank(state: ModelState) -> int:
    return _BEST_FIRST.index(state.state) if state.state in _BEST_FIRST else len(_BEST_FIRST)
