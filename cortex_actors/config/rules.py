"""Rules that span several keys. Pure, on raw values: they hold even where the schema complains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cortex_actors.config.document import KeyPath

Finding = tuple[KeyPath, str]


def model_ids(catalogue: Mapping[str, Any]) -> dict[str, int]:
    """Return each model id and the index of its first entry."""
    ids: dict[str, int] = {}
    for index, entry in _mappings(catalogue.get("models")):
        if isinstance(entry.get("id"), str):
            ids.setdefault(entry["id"], index)
    return ids


def aliases(catalogue: Mapping[str, Any]) -> dict[str, str]:
    """Return the aliases whose target is text."""
    found = catalogue.get("aliases")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): target for name, target in pairs if isinstance(target, str)}


def check_catalogue(catalogue: Mapping[str, Any]) -> Iterator[Finding]:
    """Find repeated model ids, and aliases that shadow a model, lead nowhere or go in a circle."""
    yield from _repeated(catalogue, "models", "id")
    ids, names = model_ids(catalogue), aliases(catalogue)
    for name, target in names.items():
        at: KeyPath = ("aliases", name)
        if name in ids:
            yield at, f"'{name}' is already the id of a model"
        elif target not in ids and target not in names:
            yield at, f"leads to '{target}', which is neither a model nor an alias"
        elif (trail := _trail(name, names))[-1] in names:
            yield at, f"goes in a circle: {' -> '.join(trail)}"


def check_fleet(gateway_file: Mapping[str, Any]) -> Iterator[Finding]:
    """Find neurons that share a name or an endpoint, and keys that lack their other half."""
    yield from _repeated(gateway_file, "neurons", "name")
    yield from _repeated(gateway_file, "neurons", "endpoint")
    section = gateway_file.get("gateway")
    has_own_key = isinstance(section, dict) and section.get("key_file") is not None
    for index, entry in _mappings(gateway_file.get("neurons")):
        if entry.get("key_file") is not None and not has_own_key:
            yield ("neurons", index, "key_file"), "needs the gateway's own gateway.key_file"


def check_default_models(
    neuron_file: Mapping[str, Any], catalogue: Mapping[str, Any]
) -> Iterator[Finding]:
    """Find default models that the catalogue does not have."""
    known = {**model_ids(catalogue), **aliases(catalogue)}
    wanted = neuron_file.get("default_models")
    for index, name in enumerate(wanted if isinstance(wanted, list) else ()):
        if isinstance(name, str) and name not in known:
            yield ("default_models", index), f"'{name}' is not in the catalogue"


def _repeated(data: Mapping[str, Any], listing: str, key: str) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, entry in _mappings(data.get(listing)):
        value = entry.get(key)
        if isinstance(value, str) and first.setdefault(value, index) != index:
            yield (listing, index, key), f"'{value}' is already in {listing}[{first[value]}]"


def _mappings(listing: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, entry in enumerate(listing if isinstance(listing, list) else ()):
        if isinstance(entry, dict):
            yield index, entry


def _trail(name: str, names: Mapping[str, str]) -> list[str]:
    """Follow an alias to its end, or to the first name met again."""
    trail = [name]
    while trail[-1] in names and trail[-1] not in trail[:-1]:
        trail.append(names[trail[-1]])
    return trail
