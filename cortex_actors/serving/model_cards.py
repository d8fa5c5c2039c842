"""What a daemon tells its front ends of the catalogue's models beside their states. Pure."""

from __future__ import annotations

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from transports.schemas.fleet import ModelCard


def cards(catalogue: Catalogue) -> tuple[ModelCard, ...]:
    """Return what the catalogue says of each model, in its order."""
    return tuple(map(card, catalogue.models))


def card(entry: CatalogueEntry) -> ModelCard:
    """Return what the catalogue says of one model."""
    return ModelCard(
        id=entry.id,
        harness=entry.harness,
        quant=entry.quant,
        cost={} if entry.cost is None else entry.cost.model_dump(exclude_none=True),
        limit={} if entry.limit is None else entry.limit.model_dump(exclude_none=True),
        capabilities=entry.capabilities,
    )
