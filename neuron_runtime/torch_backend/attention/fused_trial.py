"""Whether torch's fused attention works for a layer on this device, told by trying it once."""

from __future__ import annotations

from typing import Final

import torch

from neuron_runtime.torch_backend.attention.fused_attention import FusedAttention
from neuron_runtime.torch_backend.attention.gathered_attention import GatheredAttention
from neuron_runtime.torch_backend.attention.places import Places
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache

_TOLERANCE: Final = 0.05
_BLOCK_TOKENS: Final = 4
#: A prompt, the rest of one, and one token.
_SPANS: Final = (Span(0, 9, 0, 0), Span(9, 14, 6, 1), Span(14, 15, 7, 2))
_WINDOWS: Final = (0, 5)


def why_not_fused(
    shape: CacheShape, heads: int, dtype: torch.dtype, device: torch.device
) -> str | None:
    """Return what goes wrong with ``heads`` over keys and values of ``shape``, or None."""
    try:
        errors = [_error(shape, heads, dtype, device, window) for window in _WINDOWS]
    except Exception as failure:  # noqa: BLE001 - whatever it is, there is another way to attend
        return f"{type(failure).__name__}: {failure}"
    # Not a number is no less than anything.
    wrong = [error for error in errors if not error <= _TOLERANCE]
    return f"it is off by {wrong[0]:.3g}" if wrong else None


def _error(
    shape: CacheShape, heads: int, dtype: torch.dtype, device: torch.device, window: int
) -> float:
    """Return by what share of the largest number it differs from plain products."""
    made = torch.Generator().manual_seed(1)
    rows = _SPANS[-1].end
    query, key, value, past = (
        torch.randn(count, rows, shape.dim, generator=made).to(device, dtype)
        for count in (heads, shape.kv_heads, shape.kv_heads, shape.kv_heads)
    )
    tables = torch.arange(9, dtype=torch.int32).view(3, 3)
    places = Places.of(Batch.of(_SPANS, [0] * rows, [0], tables), _BLOCK_TOKENS, device)
    rules = AttentionRules(shape.dim**-0.5, window, None, None)
    seen = []
    for way in (FusedAttention, GatheredAttention):
        cache = PagedCache((shape,), 9, _BLOCK_TOKENS, dtype, device)
        cache.keys[0].copy_(past[None, :, 0, :, None])
        cache.values[0].copy_(past[None, :, None, 1])
        seen.append(way(cache, places).attend(0, query, key, value, rules).float())
    return float((seen[0] - seen[1]).abs().max() / seen[1].abs().max())
