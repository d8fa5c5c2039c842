"""Attention by torch's scaled_dot_product_attention: prompts are never a matrix of scores."""

from __future__ import annotations

from typing import final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from neuron_runtime.torch_backend.attention.decode_attention import DecodeAttention
from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.attention.places import Places
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.batch import Span
from neuron_runtime.torch_backend.paged_cache import PagedCache

#: cuDNN's is left out: nothing has shown that it takes keys which heads share without a copy.
_IMPLEMENTATIONS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@final
class FusedAttention:
    """Implements ``Attention`` for plain rules.

    Sequences that feed one token go through ``DecodeAttention``; each of the others is one call.
    """

    def __init__(self, cache: PagedCache, places: Places) -> None:
        self._cache, self._places = cache, places
        positions = places.positions[places.single] if places.longer else places.positions
        single = DecodePlaces(positions, places.single_tables, cache.block_tokens)
        self._singles = DecodeAttention(cache, single)

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
        rows = query.transpose(0, 1)
        if not places.longer:
            return self._singles.look(layer, rows, rules)
        out = torch.empty_like(rows)
        if len(places.single):
            out[places.single] = self._singles.look(layer, rows[places.single], rules)
        for number, span in places.longer:
            whole = slice(span.start, span.end)
            own = (key[:, whole], value[:, whole])
            keys, values = own if span.position == 0 else self._past(layer, number, span, rules)
            seen = _attend(query[:, whole], keys.to(query.dtype), values.to(query.dtype), rules)
            out[whole] = seen.transpose(0, 1)
        return out

    def _past(
        self, layer: int, number: int, span: Span, rules: AttentionRules
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [kv heads, positions, dim] up to the span's end.

        With a window they begin where the block does that the span's first row still sees.
        """
        tokens = self._cache.block_tokens
        reach = span.position + span.end - span.start
        first = max(0, span.position - rules.window + 1) // tokens if rules.window else 0
        blocks = self._places.tables[number, first : -(-reach // tokens)]
        keys = self._cache.keys[layer][blocks].permute(1, 0, 3, 2).flatten(1, 2)
        values = self._cache.values[layer][blocks].transpose(0, 1).flatten(1, 2)
        return keys[:, : reach - first * tokens], values[:, : reach - first * tokens]


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: AttentionRules
) -> torch.Tensor:
    """Attend rows [heads, rows, dim] that are the last of the positions.

    PERF: key-value heads take the place of a batch. Their group of queries then shares them without
    a copy, with every implementation, of which not all know of grouped heads.
    """
    kv_heads, reach, dim = keys.shape
    grouped = query.reshape(kv_heads, -1, *query.shape[1:])
    shared = (kv_heads, grouped.shape[1], reach, dim)
    with sdpa_kernel(_IMPLEMENTATIONS):
        seen: torch.Tensor = scaled_dot_product_attention(
            grouped,
            keys[:, None].expand(shared),
            values[:, None].expand(shared),
            attn_mask=_visible(query.shape[1], reach, rules.window, query.device),
            scale=rules.scale,
        )
    return seen.flatten(0, 1)


def _visible(rows: int, reach: int, window: int, device: torch.device) -> torch.Tensor:
    """Return what the last ``rows`` of ``reach`` positions see."""
    if not window or window >= reach:
        # Not a matrix but a word for one, which fused implementations understand.
        return causal_lower_right(rows, reach)
    place = torch.arange(reach, device=device)
    row = torch.arange(reach - rows, reach, device=device)[:, None]
    return (place <= row) & (place > row - window)
