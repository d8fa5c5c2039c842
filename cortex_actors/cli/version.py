"""Which version this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the installed version, or ``unknown`` in a tree that was never installed."""
    try:
        return metadata.version("cortex")
    except metadata.PackageNotFoundError:
        return "unknown"
