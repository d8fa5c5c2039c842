"""Imports of a process that keeps what it has imported."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterable


def import_frozen(modules: Iterable[str]) -> None:
    """Import and exempt from garbage collection what there is then. Main thread, once.

    Raises:
        ImportError: One is not installed; its name is in the error.
    """
    # PERF: looking for garbage in what stays takes 0.5 s of a 3 s import. A collection also writes
    # into every object, which would end the sharing of its memory among copies of the process.
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
