"""Formats of calls from other distributions, found by their entry points.

See docs/call-formats.md for what such a distribution provides.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

from neuron_runtime.engine.parsers.formats import CALL_FORMATS, FORMATS_BY_NAME, CallFormat

GROUP: Final = "cortex.call_formats"


class CallFormatError(Exception):
    """An entry point that provides no usable format; names it and says why."""


def call_formats() -> tuple[CallFormat, ...]:
    """Return all formats in the order in which a template is tried: others' by name, then ours.

    Raises:
        CallFormatError: An entry point cannot be imported, or is none.
    """
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)
    found: dict[str, CallFormat] = {}
    for point in points:
        format_ = _load(point)
        if format_.name in FORMATS_BY_NAME or format_.name in found:
            raise _error(point, f"there is a format {format_.name!r} already")
        found[format_.name] = format_
    return (*found.values(), *CALL_FORMATS)


def _load(point: metadata.EntryPoint) -> CallFormat:
    try:
        format_ = point.load()
    except Exception as error:
        # It is foreign code, which may raise anything.
        raise _error(point, f"{type(error).__name__}: {error}") from error
    if not isinstance(format_, CallFormat):
        raise _error(point, f"it is a {type(format_).__name__}, not a CallFormat")
    if not all(format_.signs) or not format_.signs:
        raise _error(point, "without signs it would be taken for every model's")
    return format_


def _error(point: metadata.EntryPoint, why: str) -> CallFormatError:
    return CallFormatError(f"entry point {point.name} = {point.value} of {GROUP}: {why}")
