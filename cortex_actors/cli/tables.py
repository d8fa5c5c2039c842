"""What operators see of a daemon's state, as tables. The input is the daemons' own JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from transports.schemas.fleet import DeviceState

Json = Mapping[str, Any]


def summary_line(status: Json) -> str:
    """Return the daemon in one line."""
    ready = "ready" if status.get("ready") else f"not ready: {status.get('reason')}"
    uptime = timedelta(seconds=int(status.get("uptime_s", 0)))
    parts = [f"{status.get('service')} {status.get('version')}", ready, f"up {uptime}"]
    health = status.get("health", {})
    if health:
        parts.insert(1, _verdict(health))
    return ", ".join(parts)


def _verdict(health: Json) -> str:
    faults = ", ".join(
        f"{each['model']} on {each['node']} is {each['reason']}"
        for each in health.get("unservable", ())
    )
    return f"{health['status']} ({faults})" if faults else str(health["status"])


def neuron_table(neurons: Iterable[Json]) -> Table:
    """Return the fleet, a row per neuron."""
    table = make_table(
        "NEURON", "STATE", "HOST", "DEVICES", "FREE OF MEMORY", "READY", "WARM", "UP", "AGE"
    )
    for neuron in neurons:
        devices = neuron.get("devices", ())
        table.add_row(
            _text(neuron, "name"),
            _text(neuron, "state"),
            _text(neuron, "hostname"),
            ", ".join(device["id"] for device in devices),
            _free_of(devices),
            ", ".join(
                model["id"] for model in neuron.get("models", ()) if model["status"] == "ready"
            ),
            ", ".join(model["id"] for model in neuron.get("warm", ())),
            str(timedelta(seconds=int(neuron.get("uptime_s", 0)))),
            _ages(neuron),
        )
    return table


def replica_table(neurons: Iterable[Json]) -> Table:
    """Return what is loaded or loading, a row per model and neuron."""
    table = make_table("MODEL", "NEURON", "STATUS", "DEVICES", "RUNNING", "WAITING", "RESTARTS")
    for neuron in neurons:
        for model in neuron.get("models", ()):
            table.add_row(
                _text(model, "id"),
                _text(neuron, "name"),
                describe_status(model),
                ", ".join(model.get("devices", ())),
                f"{model.get('running', 0)}/{model.get('capacity', 0)}",
                _text(model, "waiting"),
                _text(model, "restarts"),
            )
        for model in neuron.get("pending", ()):
            table.add_row(model, _text(neuron, "name"), "waits for its turn")
    return table


def catalogue_table(models: Iterable[Json]) -> Table:
    """Return ``/v1/models`` as a table."""
    table = make_table("MODEL", "ALIAS OF", "STATUS", "CONTEXT")
    for model in models:
        context = str(model.get("context_length") or "")
        table.add_row(_text(model, "id"), _text(model, "alias_of"), describe_status(model), context)
    return table


def device_table(devices: Iterable[DeviceState]) -> Table:
    """Return the devices of one host."""
    table = make_table("DEVICE", "NAME", "MEMORY FREE", "MEMORY")
    for device in devices:
        free, total = _gigabytes(device.memory_free_mb), _gigabytes(device.memory_total_mb)
        table.add_row(device.id, device.name, free, total)
    return table


def describe_status(model: Json) -> str:
    """Return a model's status with its progress or its error."""
    status, progress = _text(model, "status"), model.get("progress") or 0.0
    if model.get("error"):
        return f"{status}: {' '.join(model['error'].split())}"
    if not 0 < progress < 1:
        waits = ", ".join(model.get("pending_on", ())) if status == "unloaded" else ""
        return f"{status}, waits for its turn on {waits}" if waits else status
    eta = f", {model['eta_s']:.0f} s to go" if model.get("eta_s") else ""
    return f"{status} {progress:.0%}{eta}"


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: errors and names may have brackets and colons."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def make_table(*headings: str) -> Table:
    """Return an empty table in the house look."""
    return Table(*headings, box=None, pad_edge=False, header_style="bold")


def _free_of(devices: Iterable[Json]) -> str:
    known = list(devices)
    free = sum(device["memory_free_mb"] for device in known)
    total = sum(device["memory_total_mb"] for device in known)
    return f"{free / 1024:.1f} of {_gigabytes(total)}"


def _ages(neuron: Json) -> str:
    """How old what the neuron said is, and what it had measured of its devices by then."""
    said = f"{neuron.get('age_s', 0):.1f} s"
    measured = [device["age_s"] for device in neuron.get("devices", ()) if "age_s" in device]
    return f"{said} (devices {max(measured):.1f} s)" if measured else said


def _text(row: Json, key: str) -> str:
    return str(row.get(key, ""))


def _gigabytes(megabytes: int) -> str:
    return f"{megabytes / 1024:.1f} GiB"
