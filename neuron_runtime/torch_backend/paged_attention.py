"""transformers' attention, over a paged cache instead of its own.

Registered under a name of its own with transformers' attention interface, so that every model which
goes through that interface runs on the cache. No mask is made there; causality and windows follow
from the batch.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from itertools import count
from typing import Any, final

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.native.library import Threads
from neuron_runtime.torch_backend.native.structs import batch_struct, cache_struct
from neuron_runtime.torch_backend.paged_cache import PagedCache
from transports.failures import FailureCode

_numbers = count()


@final
class PagedAttention:
    """One model's attention function; ``begin`` says which batch the next calls belong to."""

    def __init__(self, device: torch.device, library: Any, threads: Threads | None) -> None:
        self._device, self._library, self._threads = device, library, threads
        self._cache = PagedCache((), 0, 1, torch.float32, device)
        self._batch: Batch | None = None
        self._places: _Places | None = None
        self.layers: set[int] = set()
        self.name = f"cortex_paged_{next(_numbers)}"
        ALL_ATTENTION_FUNCTIONS.register(self.name, self._attend)

    def use(self, cache: PagedCache) -> None:
        """Attend over ``cache`` from now on."""
        self._cache = cache

    def begin(self, batch: Batch) -> None:
        """Take the batch that is fed next; forgets which ``layers`` have attended."""
        self._batch = batch
        self._places = None
        self.layers.clear()

    def _attend(  # noqa: PLR0913, PLR0917 - transformers' interface
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: object = None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        s_aux: torch.Tensor | None = None,
        **_: object,
    ) -> tuple[torch.Tensor, None]:
        """Follow transformers' attention interface: query [1, heads, rows, dim] and so on."""
        del attention_mask
        batch, layer = self._batch, int(module.layer_idx)
        if batch is None:
            msg = "attention was called outside a step"
            raise RuntimeError(msg)
        self._check(layer, key, value)
        self.layers.add(layer)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        window = int(sliding_window or 0)
        plain = softcap is None and s_aux is None
        if plain and self._threads is not None and query.dtype is torch.float32:
            return self._kernel(batch, layer, query, key, value, window, scale), None
        if self._places is None:
            self._places = _Places.of(batch, self._cache.block_tokens, self._device)
        self._store(layer, key[0], value[0], self._places)
        rules = _Rules(scale, window, softcap, s_aux)
        return self._in_torch(batch, layer, query[0], rules, self._places), None

    def _check(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        shapes = self._cache.shapes
        if layer >= len(shapes) or key.shape != value.shape:
            fits = False
        else:
            fits = key.shape[1] == shapes[layer].kv_heads and key.shape[3] == shapes[layer].dim
        if not fits:
            raise BackendError(
                FailureCode.LOAD_FAILED,
                f"layer {layer} has keys {tuple(key.shape)} and values {tuple(value.shape)},"
                " which the cache is not made for; this architecture is not supported",
            )

    def _kernel(
        self,
        batch: Batch,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        window: int,
        scale: float,
    ) -> torch.Tensor:
        rows = [each[0].transpose(0, 1).contiguous() for each in (query, key, value)]
        out = torch.empty_like(rows[0])
        struct = batch_struct(batch)
        cache = cache_struct(self._cache, layer)
        code = self._library.cx_attention(
            self._threads.handle if self._threads else None,
            ctypes.byref(cache),
            ctypes.byref(struct),
            *(each.data_ptr() for each in rows),
            query.shape[1],
            window,
            scale,
            out.data_ptr(),
        )
        if code:
            msg = f"no memory for the attention of {len(batch.tokens)} tokens"
            raise MemoryError(msg)
        return out[None]

    def _store(self, layer: int, key: torch.Tensor, value: torch.Tensor, places: _Places) -> None:
        cache, blocks, offsets = self._cache, places.blocks, places.offsets
        cache.keys[layer][blocks, :, :, offsets] = key.transpose(0, 1).to(cache.dtype)
        cache.values[layer][blocks, :, offsets] = value.transpose(0, 1).to(cache.dtype)

    def _in_torch(
        self, batch: Batch, layer: int, query: torch.Tensor, rules: _Rules, places: _Places
    ) -> torch.Tensor:
        """Attend all sequences that feed one token together, each of the others alone."""
        out = torch.empty_like(query.transpose(0, 1))
        single = [span for span in batch.spans if span.end - span.start == 1]
        if single:
            rows = torch.tensor([span.start for span in single], device=self._device)
            asked = query[:, rows].transpose(0, 1)[:, :, None]
            out[rows] = self._some(layer, asked, rows[:, None], single, rules, places)[:, :, 0]
        for span in batch.spans:
            if span.end - span.start > 1:
                rows = torch.arange(span.start, span.end, device=self._device)
                asked = query[None, :, span.start : span.end]
                seen = self._some(layer, asked, rows[None], [span], rules, places)
                out[span.start : span.end] = seen[0].transpose(0, 1)
        return out[None]

    def _some(
        self,
        layer: int,
        query: torch.Tensor,
        rows: torch.Tensor,
        spans: list[Span],
        rules: _Rules,
        places: _Places,
    ) -> torch.Tensor:
        """Attend queries [sequences, heads, rows, dim] of equally long spans."""
        tokens = self._cache.block_tokens
        longest = max(span.position + span.end - span.start for span in spans)
        slots = torch.tensor([span.slot for span in spans], device=self._device)
        blocks = places.tables[slots, : -(-longest // tokens)]
        # [sequences, blocks, kv heads, dim, tokens] to [sequences, kv heads, 1, dim, positions]
        keys = self._cache.keys[layer][blocks].permute(0, 2, 3, 1, 4).flatten(3)[:, :, None]
        values = self._cache.values[layer][blocks].permute(0, 2, 1, 3, 4).flatten(2, 3)[:, :, None]
        heads = keys.shape[1]
        grouped = query.reshape(len(spans), heads, -1, *query.shape[2:])
        scores = grouped @ keys.to(query.dtype)
        weights = rules.weigh(scores, places.positions[rows])
        out: torch.Tensor = weights.to(query.dtype) @ values.to(query.dtype)
        return out.flatten(1, 2)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a batch's rows are and go, on the device: needed only where torch attends."""

    tables: torch.Tensor
    positions: torch.Tensor
    blocks: torch.Tensor
    offsets: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, block_tokens: int, device: torch.device) -> _Places:
        tables = batch.tables.to(device).long()
        positions = batch.positions.to(device).long()
        blocks = tables[batch.slots.to(device).long(), positions // block_tokens]
        return cls(tables, positions, blocks, positions % block_tokens)


@final
class _Rules:
    """From scores to weights: scale, cap, what may be seen, sinks."""

    def __init__(
        self, scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None
    ) -> None:
        self._scale, self._window = scale, window
        self._softcap, self._sinks = softcap, sinks

    def weigh(self, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return the weights [sequences, kv heads, group, rows, positions]."""
        scores = scores.float() * self._scale
        if self._softcap is not None:
            scores = torch.tanh(scores / self._softcap) * self._softcap
        place = torch.arange(scores.shape[-1], device=scores.device)
        hidden = place > position[..., None]
        if self._window:
            hidden |= place <= position[..., None] - self._window
        scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        if self._sinks is None:
            return scores.softmax(-1)
        sinks = self._sinks.float().reshape(1, scores.shape[1], scores.shape[2], 1, 1)
        sinks = sinks.expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]
