"""Attention by matrix products over gathered blocks: knows every rule, runs anywhere."""

from __future__ import annotations

from typing import final

import torch

from neuron_runtime.torch_backend.attention.places import Places
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.paged_cache import PagedCache

SCORE_BYTES = 256 << 20
"""At most so many bytes of scores are made at once, but for a single row."""


@final
class GatheredAttention:
    """Implements ``Attention``.

    All sequences that feed one token are attended together, each of the others alone.
    """

    def __init__(self, cache: PagedCache, places: Places) -> None:
        self._cache, self._places = cache, places

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        """See ``Attention``."""
        places = self._places
        self._cache.store(layer, key, value, places.blocks, places.offsets)
        out = torch.empty_like(query.transpose(0, 1))
        rows = places.single
        if len(rows):
            asked = query[:, rows].transpose(0, 1)[:, :, None]
            positions = places.positions[rows, None]
            seen = self._some(layer, asked, positions, places.single_tables, rules)
            out[rows] = seen[:, :, 0]
        for number, span in places.longer:
            whole = slice(span.start, span.end)
            reach = span.position + span.end - span.start
            table = places.tables[number, : -(-reach // self._cache.block_tokens)]
            asked, positions = query[None, :, whole], places.positions[None, whole]
            seen = self._some(layer, asked, positions, table[None], rules)
            out[whole] = seen[0].transpose(0, 1)
        return out

    def _some(
        self,
        layer: int,
        query: torch.Tensor,
        positions: torch.Tensor,
        tables: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        """Attend queries [sequences, heads, rows, dim] of equally long spans."""
        # [sequences, blocks, kv heads, dim, tokens] to [sequences, kv heads, 1, dim, positions]
        keys = self._cache.keys[layer][tables].permute(0, 2, 3, 1, 4).flatten(3)[:, :, None]
        values = self._cache.values[layer][tables].permute(0, 2, 1, 3, 4).flatten(2, 3)[:, :, None]
        keys, values = keys.to(query.dtype), values.to(query.dtype)
        grouped = query.reshape(len(tables), keys.shape[1], -1, *query.shape[2:])
        row_bytes = query.shape[0] * query.shape[1] * keys.shape[-1] * 4
        most = max(1, SCORE_BYTES // row_bytes)
        seen = []
        for rows, at in zip(
            torch.split(grouped, most, 3), torch.split(positions, most, 1), strict=True
        ):
            weights = rules.weigh(rows @ keys, at)
            seen.append(weights.to(query.dtype) @ values)
        out = seen[0] if len(seen) == 1 else torch.cat(seen, 3)
        return out.flatten(1, 2)
