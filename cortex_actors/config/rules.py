"""Rules that span several keys. Pure, on raw values: they hold even where the schema complains."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cortex_actors.config.address import Address
from cortex_actors.config.document import KeyPath
from transports import endpoints
from transports.errors import EndpointError

Finding = tuple[KeyPath, str]


def model_ids(catalogue: Mapping[str, Any]) -> dict[str, int]:
    """Return each model id and the index of its first entry."""
    ids: dict[str, int] = {}
    for index, entry in _mappings(catalogue.get("models")):
        if isinstance(entry.get("id"), str):
            ids.setdefault(entry["id"], index)
    return ids


def aliases(catalogue: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return each alias and the names that it stands for; what is not text is left out."""
    return {
        name: tuple(target for _, target in _targets(value)) for name, value in _aliases(catalogue)
    }


def check_catalogue(catalogue: Mapping[str, Any]) -> Iterator[Finding]:
    """Find repeated ids, and aliases that shadow a model, lead nowhere or go in a circle."""
    yield from _repeated(catalogue, "models", "id")
    ids, chains = model_ids(catalogue), aliases(catalogue)
    for name, value in _aliases(catalogue):
        at: KeyPath = ("aliases", name)
        if name in ids:
            yield at, f"'{name}' is already the id of a model"
            continue
        yield from _check_chain(at, value, {*ids, *chains})
        circle = _circle(name, chains)
        if circle:
            yield at, f"goes in a circle: {' -> '.join(circle)}"


def neuron_names(gateway_file: Mapping[str, Any]) -> list[str]:
    """Return the name of each neuron of the fleet."""
    names = (entry.get("name") for _, entry in _mappings(gateway_file.get("neurons")))
    return [name for name in names if isinstance(name, str)]


def check_pins(catalogue: Mapping[str, Any], neurons: Collection[str]) -> Iterator[Finding]:
    """Find models that are pinned on neurons that the gateway does not have."""
    for index, entry in _mappings(catalogue.get("models")):
        pins = entry.get("pinned_on")
        for place, name in enumerate(pins if isinstance(pins, list) else ()):
            if isinstance(name, str) and name not in neurons:
                known = ", ".join(neurons) or "none"
                message = f"there is no neuron '{name}'; known: {known}"
                yield ("models", index, "pinned_on", place), message


def check_fleet(gateway_file: Mapping[str, Any]) -> Iterator[Finding]:
    """Find neurons that share a name or an endpoint, and keys that lack their other half."""
    yield from _repeated(gateway_file, "neurons", "name")
    yield from _repeated(gateway_file, "neurons", "endpoint")
    section = gateway_file.get("gateway")
    has_own_key = isinstance(section, dict) and section.get("key_file") is not None
    for index, entry in _mappings(gateway_file.get("neurons")):
        if entry.get("key_file") is not None and not has_own_key:
            yield ("neurons", index, "key_file"), "needs the gateway's own gateway.key_file"


def check_gateway(section: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what contradicts itself in a gateway's section, which has every key."""
    yield from _apart("gateway", section, "listen", "metrics_listen")
    yield from _keys_from_somewhere("gateway", section)


def check_neuron(section: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what contradicts itself in a neuron's section, which has every key."""
    yield from _apart("neuron", section, "listen", "link")
    if (section["key_file"] is None) != (section["gateway_keys"] is None):
        yield ("neuron",), "key_file and gateway_keys are set together or not at all"
    yield from _keys_from_somewhere("neuron", section)


def check_backoff(what: str, section: Mapping[str, Any]) -> Iterator[Finding]:
    """Find a first wait that is longer than the longest; the section has every key."""
    first, longest = section["backoff_s"], section["max_backoff_s"]
    if isinstance(first, int | float) and isinstance(longest, int | float) and first > longest:
        yield ("restart", what, "backoff_s"), f"is more than max_backoff_s ({longest})"


def check_default_models(
    neuron_file: Mapping[str, Any], catalogue: Mapping[str, Any]
) -> Iterator[Finding]:
    """Find default models that the catalogue does not have."""
    known = {**model_ids(catalogue), **aliases(catalogue)}
    wanted = neuron_file.get("default_models")
    for index, name in enumerate(wanted if isinstance(wanted, list) else ()):
        if isinstance(name, str) and name not in known:
            yield ("default_models", index), f"'{name}' is not in the catalogue"


def _apart(where: str, section: Mapping[str, Any], one: str, other: str) -> Iterator[Finding]:
    first, second = _address(section[one]), _address(section[other])
    if first is not None and second is not None and first.takes(second):
        both = ", ".join(dict.fromkeys(map(str, (first, second))))
        yield (where,), f"{one} and {other} are the same address ({both})"


def _address(value: Any) -> Address | None:
    """Return the address in HOST:PORT or tcp://HOST:PORT; None is for the schema to judge."""
    try:
        endpoint = endpoints.parse(value if "://" in value else f"tcp://{value}")
    except (EndpointError, TypeError):
        return None
    return Address(endpoint.host, endpoint.port) if endpoint.scheme == "tcp" else None


def _keys_from_somewhere(where: str, section: Mapping[str, Any]) -> Iterator[Finding]:
    keys = section["api_keys"]
    if isinstance(keys, dict) and keys.get("required") is True and keys.get("file") is None:
        yield (where, "api_keys"), "required needs a file of keys"


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


def _aliases(catalogue: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    found = catalogue.get("aliases")
    for name, value in found.items() if isinstance(found, dict) else ():
        yield str(name), value


def _targets(value: Any) -> Iterator[tuple[int | None, str]]:
    """Each name that an alias is given, with its place in the list if it is one."""
    if isinstance(value, str):
        yield None, value
    for index, target in enumerate(value if isinstance(value, list) else ()):
        if isinstance(target, str):
            yield index, target


def _check_chain(at: KeyPath, value: Any, known: Collection[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, target in _targets(value):
        place = at if index is None else (*at, index)
        if target in seen:
            yield place, f"'{target}' is in this chain already"
        elif target not in known:
            yield place, f"leads to '{target}', which is neither a model nor an alias"
        seen.add(target)


def _circle(name: str, chains: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The shortest way from an alias back to itself; empty if there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    reached = {name}
    while ways:
        way = ways.pop(0)
        for target in chains.get(way[-1], ()):
            if target == name:
                return (*way, target)
            if target in chains and target not in reached:
                reached.add(target)
                ways.append((*way, target))
    return ()
