"""What is different between two catalogues. Pure."""

from __future__ import annotations

from typing import Any

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from transports.schemas.operations import CatalogueReloaded, FieldChange


def compare(old: Catalogue, new: Catalogue) -> CatalogueReloaded:
    """Return what was added, removed and changed, field by field, in the files' order."""
    before = {entry.id: entry for entry in old.models}
    after = {entry.id: entry for entry in new.models}
    return CatalogueReloaded(
        added=tuple(id_ for id_ in after if id_ not in before),
        removed=tuple(id_ for id_ in before if id_ not in after),
        changed=tuple(
            change
            for id_, entry in after.items()
            if id_ in before
            for change in _changes(before[id_], entry)
        ),
        aliases=tuple(
            FieldChange(name, "", _shown(old.aliases.get(name)), _shown(new.aliases.get(name)))
            for name in {**old.aliases, **new.aliases}
            if old.aliases.get(name) != new.aliases.get(name)
        ),
    )


def _changes(before: CatalogueEntry, after: CatalogueEntry) -> list[FieldChange]:
    old, new = before.model_dump(), after.model_dump()
    return [
        FieldChange(after.id, field, _shown(old[field]), _shown(new[field]))
        for field in new
        if old[field] != new[field]
    ]


def _shown(value: Any) -> str:
    """Return a value as the file would have it; empty for what is not there."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        parts = (f"{key}: {part}" for key, part in value.items() if part is not None)
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
