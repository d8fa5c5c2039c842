"""How long a load may take: a large model has more to read. Pure."""

from __future__ import annotations

from typing import Final

ORDINARY_MB: Final = 20_000
"""The configured deadline is for models up to this; at ten minutes that is 33 MB/s."""


def load_deadline_s(configured_s: float, memory_mb: int) -> float:
    """Return seconds for a model that takes ``memory_mb`` over all its devices; 0: not known."""
    return configured_s * max(1.0, memory_mb / ORDINARY_MB)
