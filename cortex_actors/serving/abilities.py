"""What models can do, as far as anyone knows, and what may not be asked of them. Pure.

A load takes seconds to minutes and may cost others their place, so what its engine would refuse
anyway is refused before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from neuron_runtime.model_kind import ModelKind
from transports.failures import FailureCode
from transports.schemas.fleet import ModelRecord, NeuronState
from transports.schemas.link import Failure

GENERATE: Final = "generate"
EMBED: Final = "embed"

_EMBEDDINGS: Final = "embeddings"
_OF_TEXT: Final = frozenset({"completions", "chat", "tools", "reasoning"})
_OF_OTHERS: Final = frozenset({_EMBEDDINGS, "image", "audio", "rerank"})


Records = Mapping[str, list[ModelRecord]]
"""What all neurons have measured, by model."""


def records_of(neurons: Iterable[NeuronState]) -> Records:
    """Return every neuron's records."""
    # PERF: once for all models; a fleet has many times more records than models.
    found: defaultdict[str, list[ModelRecord]] = defaultdict(list)
    for neuron in neurons:
        for record in neuron.records:
            found[record.model].append(record)
    return found


def abilities(entry: CatalogueEntry, records: Records) -> tuple[str, ...]:
    """Return what neurons that have the model, or had it, say; before any does, the catalogue.

    What was learned of another source does not count.
    """
    learned: dict[str, None] = {}
    for record in records.get(entry.id, ()):
        if record.source == entry.source:
            learned |= dict.fromkeys(record.capabilities)
    return tuple(learned) or entry.capabilities


def mismatch(model: str, task: str, capabilities: Collection[str]) -> Failure | None:
    """Say why the ``task`` cannot be this model's; None if it can, or nobody knows."""
    known = set(capabilities)
    if task == EMBED and known & _OF_TEXT and _EMBEDDINGS not in known:
        return ModelKind.GENERATION.refusal(model)
    if task != GENERATE or not known or not known <= _OF_OTHERS:
        return None
    if known == {_EMBEDDINGS}:
        return ModelKind.EMBEDDING.refusal(model)
    text = f"the model '{model}' is for {', '.join(sorted(known))} and generates no text"
    return Failure(FailureCode.INVALID_REQUEST, text, param="model")


def unfit(
    model: str, task: str, catalogue: Catalogue, neurons: Iterable[NeuronState]
) -> Failure | None:
    """Say why the ``task`` cannot be this model's, by what the catalogue and the neurons know."""
    entry = catalogue.find(model)
    known = () if entry is None else abilities(entry, records_of(neurons))
    return mismatch(model, task, known)
