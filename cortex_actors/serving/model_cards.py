"""What a daemon tells its front ends of the catalogue's models beside their states. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.serving.abilities import Records, abilities, records_of
from transports.schemas.fleet import ModelCard, NeuronState


def cards(catalogue: Catalogue, neurons: Iterable[NeuronState]) -> tuple[ModelCard, ...]:
    """Return what is known of each model, in the catalogue's order."""
    records = records_of(neurons)
    return tuple(card(entry, records) for entry in catalogue.models)


def card(entry: CatalogueEntry, records: Records) -> ModelCard:
    """Return what the catalogue says of one model, and what neurons have learned of it."""
    return ModelCard(
        id=entry.id,
        harness=entry.harness,
        quant=entry.quant,
        cost={} if entry.cost is None else entry.cost.model_dump(exclude_none=True),
        limit={} if entry.limit is None else entry.limit.model_dump(exclude_none=True),
        capabilities=abilities(entry, records),
    )
