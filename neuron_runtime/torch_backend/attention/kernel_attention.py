"""Attention by the C kernels, on a CPU."""

from __future__ import annotations

import ctypes
from typing import Any, final

import torch

from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.native.library import Threads
from neuron_runtime.torch_backend.native.structs import batch_struct, cache_struct
from neuron_runtime.torch_backend.paged_cache import PagedCache


@final
class KernelAttention:
    """Implements ``Attention`` for plain rules in float32."""

    def __init__(self, library: Any, threads: Threads, cache: PagedCache, batch: Batch) -> None:
        self._library, self._threads, self._cache = library, threads, cache
        self._batch, self._rows = batch_struct(batch), len(batch.tokens)
        # The struct points into its tensors.
        self._held = batch

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rules: AttentionRules,
    ) -> torch.Tensor:
        """See ``Attention``."""
        rows = [each.transpose(0, 1).contiguous() for each in (query, key, value)]
        out = torch.empty_like(rows[0])
        cache = cache_struct(self._cache, layer)
        code = self._library.cx_attention(
            self._threads.handle,
            ctypes.byref(cache),
            ctypes.byref(self._batch),
            *(each.data_ptr() for each in rows),
            query.shape[0],
            rules.window,
            rules.scale,
            out.data_ptr(),
        )
        if code:
            msg = f"no memory for the attention of {self._rows} tokens"
            raise MemoryError(msg)
        return out
