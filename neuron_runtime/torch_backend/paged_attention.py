"""transformers' attention, over a paged cache instead of its own.

Registered under a name of its own with transformers' attention interface, so that every model which
goes through that interface runs on the cache. No mask is made there; causality and windows follow
from the batch.
"""

from __future__ import annotations

import logging
from itertools import count
from typing import Any, final

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.attention.attention import Attention
from neuron_runtime.torch_backend.attention.choice import LayerNeeds, Way, choose_attention
from neuron_runtime.torch_backend.attention.decode_attention import DecodeAttention
from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.attention.fused_attention import FusedAttention
from neuron_runtime.torch_backend.attention.fused_trial import why_not_fused
from neuron_runtime.torch_backend.attention.gathered_attention import GatheredAttention
from neuron_runtime.torch_backend.attention.kernel_attention import KernelAttention
from neuron_runtime.torch_backend.attention.places import Places
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.native.library import Threads
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache
from transports.failures import FailureCode

_log = logging.getLogger("cortex.torch")
_numbers = count()


@final
class PagedAttention:
    """One model's attention function; ``begin`` says which batch the next calls belong to."""

    def __init__(self, device: torch.device, library: Any, threads: Threads | None) -> None:
        self._device, self._library, self._threads = device, library, threads
        self._cache = PagedCache((), 0, 1, torch.float32, device)
        self._batch: Batch | None = None
        self._places: Places | None = None
        self._fixed: Attention | None = None
        self._ways: dict[int, Way] = {}
        self._begun: dict[Way, Attention] = {}
        self._trials: dict[tuple[CacheShape, int, torch.dtype], str | None] = {}
        self.layers: set[int] = set()
        self.name = f"cortex_paged_{next(_numbers)}"
        ALL_ATTENTION_FUNCTIONS.register(self.name, self._attend)

    @property
    def cache(self) -> PagedCache:
        """What is attended over."""
        return self._cache

    def use(self, cache: PagedCache) -> None:
        """Attend over ``cache`` from now on."""
        self._cache = cache

    def begin(self, batch: Batch) -> None:
        """Take the batch that is fed next; forgets which ``layers`` have attended."""
        self._batch, self._places = batch, None
        self._fixed = None
        self._begun.clear()
        self.layers.clear()

    def places(self) -> Places:
        """Return where the batch's rows are on the device; it is moved there once.

        Raises:
            RuntimeError: No batch has begun.
        """
        if self._places is None:
            tokens = self._cache.block_tokens
            self._places = Places.of(self._in_step(), tokens, self._device)
        return self._places

    def begin_decode(self, places: DecodePlaces) -> None:
        """Like ``begin``, for one token of each sequence, whatever their number is."""
        self._fixed = DecodeAttention(self._cache, places)
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
        layer = int(module.layer_idx)
        self._check(layer, key, value)
        self.layers.add(layer)
        # SAFETY: rows weigh what they do not see with 0, and 0 times what is no finite number is no
        # number. It would reach tokens before it and, later, whoever gets the sequence's blocks.
        key, value = (each.nan_to_num(0.0, 0.0, 0.0) for each in (key, value))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        rules = AttentionRules(scale, int(sliding_window or 0), softcap, s_aux)
        attention = self._fixed
        if attention is None:
            way = self._ways.get(layer) or self._choose(layer, query, rules)
            attention = self._begun.get(way) or self._begin(way)
        return attention.attend(layer, query[0], key[0], value[0], rules)[None], None

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

    def _choose(self, layer: int, query: torch.Tensor, rules: AttentionRules) -> Way:
        needs = LayerNeeds(
            self._device.type,
            str(query.dtype).removeprefix("torch."),
            query.shape[-1],
            rules.softcap is not None,
            rules.sinks is not None,
            self._threads is not None,
        )
        way, why = choose_attention(needs)
        if way is Way.FUSED and not self._is_fused(self._cache.shapes[layer], query):
            way, why = Way.GATHERED, "torch's fused attention does not work here"
        if way not in self._ways.values():
            _log.info("attention way=%s from_layer=%d: %s", way, layer, why)
        self._ways[layer] = way
        return way

    def _is_fused(self, shape: CacheShape, query: torch.Tensor) -> bool:
        """Try torch's fused attention once for each kind of layer; the log says what is wrong."""
        kind = shape, query.shape[1], query.dtype
        if kind not in self._trials:
            self._trials[kind] = failure = why_not_fused(*kind, self._device)
            if failure is not None:
                _log.warning("torch's fused attention is not used for %s: %s", shape, failure)
        return self._trials[kind] is None

    def _begin(self, way: Way) -> Attention:
        attention: Attention
        if way is Way.KERNEL and self._threads is not None:
            batch = self._in_step()
            attention = KernelAttention(self._library, self._threads, self._cache, batch)
        elif way is Way.FUSED:
            attention = FusedAttention(self._cache, self.places())
        else:
            attention = GatheredAttention(self._cache, self.places())
        self._begun[way] = attention
        return attention

    def _in_step(self) -> Batch:
        if self._batch is None:
            msg = "attention was called outside a step"
            raise RuntimeError(msg)
        return self._batch
