"""What a daemon tells its front ends, composed from what it knows of its neurons. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cortex_actors.config.catalogue import Catalogue
from transports.schemas.fleet import ModelState, NeuronState

_RANK = {
    state: rank
    for rank, state in enumerate(
        ("ready", "recovering", "starting", "preparing", "unloading", "failed", "unloaded")
    )
}


def merged_models(catalogue: Catalogue, neurons: Iterable[NeuronState]) -> tuple[ModelState, ...]:
    """One state per model: that of its best replica; ``unloaded`` where it has none.

    The catalogue's order first, then models that only a neuron knows of, by name.
    """
    best: dict[str, ModelState] = {}
    for neuron in neurons:
        for state in neuron.models if neuron.state == "up" else ():
            known = best.get(state.id)
            if known is None or _rank(state) < _rank(known):
                best[state.id] = state
    listed = [best.pop(id_, ModelState(id_, "unloaded")) for id_ in catalogue.ids()]
    return (*listed, *(best[id_] for id_ in sorted(best)))


def _rank(state: ModelState) -> int:
    # A newer neuron may know states that we do not.
    return _RANK.get(state.state, len(_RANK))


def names(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """Every name that a client may use, and the models it stands for, the preferred one first."""
    return {name: catalogue.chain(name) for name in (*catalogue.ids(), *catalogue.aliases)}


def chains(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """Every alias, and the models it stands for."""
    return {alias: catalogue.chain(alias) for alias in catalogue.aliases}


def first_targets(catalogue: Catalogue) -> dict[str, str]:
    """Every alias, and the model it stands for first."""
    return {alias: catalogue.resolve(alias) for alias in catalogue.aliases}
