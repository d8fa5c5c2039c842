"""Attention of sequences that feed one token each, without a number that depends on the batch.

Shapes follow from how many rows and blocks the places have, and everything else is computed from
tensors on the device, so a CUDA graph of it holds for every batch of these shapes.
"""

from __future__ import annotations

from typing import final

import torch

from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.paged_cache import PagedCache

GATHERED_BYTES = 256 << 20
"""At most so many bytes of keys and values are gathered at once, but for a single sequence."""


@final
class DecodeAttention:
    """Implements ``Attention`` where row and sequence are one.

    PERF: a block of one head is one row of the cache, so keys and values are gathered in the order
    in which the products read them, and not copied once more for it.
    """

    def __init__(self, cache: PagedCache, places: DecodePlaces) -> None:
        self._cache, self._places = cache, places
        self._homes: tuple[torch.Tensor, torch.Tensor] | None = None

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        """See ``Attention``."""
        if self._homes is None:
            self._homes = self._places.homes()
        self._cache.store(layer, key, value, *self._homes)
        return self.look(layer, query.transpose(0, 1), rules)

    def look(self, layer: int, query: torch.Tensor, rules: AttentionRules) -> torch.Tensor:
        """Return what queries [rows, heads, dim] see, whose keys and values have been kept."""
        shape, cache = self._cache.shapes[layer], self._cache
        pages, bias = self._places.seen(rules.window, shape.kv_heads)
        rows, _, blocks = pages.shape
        row_bytes = 2 * blocks * cache.block_tokens * shape.kv_heads * shape.dim
        most = max(1, GATHERED_BYTES // (row_bytes * cache.dtype.itemsize))
        seen = [
            self._some(
                layer,
                query[first : first + most],
                pages[first : first + most],
                bias[first : first + most],
                rules,
            )
            for first in range(0, rows, most)
        ]
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def _some(
        self,
        layer: int,
        query: torch.Tensor,
        pages: torch.Tensor,
        bias: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        rows, kv_heads, _ = pages.shape
        # [rows, kv heads, blocks, dim, tokens] and [rows, kv heads, positions, dim]
        keys = self._cache.keys[layer].flatten(0, 1)[pages].to(query.dtype)
        values = self._cache.values[layer].flatten(0, 1)[pages].flatten(2, 3).to(query.dtype)
        grouped = query.reshape(rows, kv_heads, -1, query.shape[-1])
        scores = (grouped[:, :, None] @ keys).transpose(2, 3).flatten(3)
        weights = rules.weigh_biased(scores[:, :, :, None], bias[:, None, None, None])[:, :, :, 0]
        out: torch.Tensor = weights.to(query.dtype) @ values
        return out.flatten(1, 2)
