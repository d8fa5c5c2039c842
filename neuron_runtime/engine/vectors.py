"""Vectors as they travel: little-endian float32, without numpy, which an engine does not load."""

from __future__ import annotations

import math
import struct

BYTES_PER_VALUE = 4


def shorten(row: bytes, dimensions: int) -> bytes:
    """Return the first ``dimensions`` values of a vector, scaled to length 1 again."""
    if BYTES_PER_VALUE * dimensions >= len(row):
        return row
    values = struct.unpack_from(f"<{dimensions}f", row)
    length = math.hypot(*values) or 1.0
    return struct.pack(f"<{dimensions}f", *(value / length for value in values))
