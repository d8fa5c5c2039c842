"""A cache and a batch as the kernels take them. They point into tensors that must stay alive."""

from __future__ import annotations

import torch

from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.native.library import BatchStruct, CacheStruct
from neuron_runtime.torch_backend.paged_cache import PagedCache


def cache_struct(cache: PagedCache, layer: int) -> CacheStruct:
    """Return one layer of a float32 or float16 cache."""
    shape = cache.shapes[layer]
    return CacheStruct(
        keys=cache.keys[layer].data_ptr(),
        values=cache.values[layer].data_ptr(),
        half=int(cache.dtype is torch.float16),
        kv_heads=shape.kv_heads,
        dim=shape.dim,
        block_tokens=cache.block_tokens,
    )


def batch_struct(batch: Batch) -> BatchStruct:
    """Return a batch."""
    return BatchStruct(
        rows=len(batch.tokens),
        logit_rows=len(batch.wanted),
        table_stride=batch.tables.shape[1],
        position=batch.positions.data_ptr(),
        table_of=batch.slots.data_ptr(),
        tables=batch.tables.data_ptr(),
        logit_row=batch.wanted.data_ptr(),
    )
