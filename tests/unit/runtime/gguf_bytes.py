"""Writes small GGUF files, well formed or not."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence


def string(text: str) -> bytes:
    """Encode a string as GGUF has it."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]],
    *,
    pairs: Sequence[bytes] = (),
    version: int = 3,
    data: int = 4096,
) -> bytes:
    """Return a file of tensors, given as name to (shape, type, offset), with ``data`` bytes."""
    pairs = [string("general.architecture") + struct.pack("<I", 8) + string("llama"), *pairs]
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs)
    for name, (shape, kind, offset) in tensors.items():
        out += string(name) + struct.pack("<I", len(shape))
        out += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
    out += b"\0" * (-len(out) % 32)
    return out + b"\0" * data


def array_pair(key: str, item: int, count: int, payload: bytes) -> bytes:
    """Return a key with an array value."""
    return string(key) + struct.pack("<IIQ", 9, item, count) + payload
