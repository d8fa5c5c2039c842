"""Vectors as an OpenAI list of embeddings; pure."""

from __future__ import annotations

import base64
import struct
from typing import Any

from cortex_actors.dialects.events import Embedded

_BYTES_PER_VALUE = 4


def embedding_list(embedded: Embedded, model: str, *, as_base64: bool) -> dict[str, Any]:
    """Return the response's object.

    In base64 a vector is its little-endian float32 values, which is what the wire carries.
    """
    width = _BYTES_PER_VALUE * embedded.dimensions
    rows = [embedded.rows[at : at + width] for at in range(0, len(embedded.rows), width)]
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(row).decode() if as_base64 else _values(row),
            }
            for index, row in enumerate(rows)
        ],
        "model": model,
        "usage": {
            "prompt_tokens": embedded.prompt_tokens,
            "total_tokens": embedded.prompt_tokens,
        },
    }


def _values(row: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(row) // _BYTES_PER_VALUE}f", row)
