"""A decoder of Llama's kind that runs as one call into the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import torch

from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.native.library import (
    LayerStruct,
    ModelStruct,
    Threads,
)
from neuron_runtime.torch_backend.native.packed_weight import Format, PackedWeight
from neuron_runtime.torch_backend.native.structs import batch_struct, cache_struct
from neuron_runtime.torch_backend.paged_cache import PagedCache

_MODELS = frozenset(
    {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
)
_STATIC_ROPE = frozenset({"default", "linear", "llama3", "yarn"})


def runs_natively(model: Any) -> bool:
    """Say whether ``NativeDecoder`` computes what this transformers model does."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model).__name__ in _MODELS
        and rope.get("rope_type", "default") in _STATIC_ROPE
        and getattr(config, "hidden_act", "") == "silu"
        and _dim(config) % 8 == 0
    )


@dataclass(frozen=True, slots=True)
class _Packed:
    qkv: PackedWeight
    output: PackedWeight
    gate_up: PackedWeight
    down: PackedWeight


@final
class NativeDecoder:
    """Implements ``Runner``.

    Args:
        library: What ``kernels()`` returned.
        model: A transformers model that ``runs_natively`` accepts, its parameters filled in any
            dtype on the CPU. Its linear layers are taken out of it as they are packed.
        form: How the layers' weights are held. The output layer has at least eight bits.
        cache: The blocks; float32 or float16.
        threads: What computes.
    """

    def __init__(
        self, library: Any, model: Any, form: Format, cache: PagedCache, threads: Threads
    ) -> None:
        self._library, self._cache, self._threads = library, cache, threads
        config = model.config
        self._embedding = model.get_input_embeddings().weight.detach()
        self._vocabulary, self._hidden = self._embedding.shape
        self._norms: list[torch.Tensor] = []
        layers, head = self._pack(model, form)
        self._held: list[_Packed | PackedWeight] = [*layers, head]
        rotary = self._rotary_tables(model)
        structs = [
            self._layer(index, layer, packed)
            for index, (layer, packed) in enumerate(zip(model.model.layers, layers, strict=True))
        ]
        dim = _dim(config)
        self._layers = (LayerStruct * len(structs))(*structs)
        self._model = ModelStruct(
            layers=len(structs),
            hidden=self._hidden,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            dim=dim,
            rotary=2 * rotary[0].shape[1],
            intermediate=config.intermediate_size,
            vocabulary=self._vocabulary,
            epsilon=config.rms_norm_eps,
            scale=dim**-0.5,
            layer=self._layers,
            norm=self._norm(model.model.norm),
            cosine=rotary[0].data_ptr(),
            sine=rotary[1].data_ptr(),
            head=head.struct,
        )
        self._rotary = rotary

    @property
    def weight_bytes(self) -> int:
        """How much memory the weights take."""
        return int(self._embedding.nbytes) + sum(each.nbytes for each in _weights(self._held))

    def forward(self, batch: Batch) -> torch.Tensor:
        """See ``Runner``."""
        hidden = self._embedding[batch.tokens.long()].to(torch.float32)
        logits = torch.empty((len(batch.wanted), self._vocabulary), dtype=torch.float32)
        struct = batch_struct(batch)
        code = self._library.cx_forward(
            self._threads.handle,
            ctypes.byref(self._model),
            ctypes.byref(struct),
            hidden.data_ptr(),
            logits.data_ptr(),
        )
        if code:
            msg = f"no memory for a step of {len(batch.tokens)} tokens"
            raise MemoryError(msg)
        return logits

    def sleep(self) -> None:
        """See ``Runner``: the weights are in host memory already."""

    def wake(self) -> None:
        """See ``Runner``."""
        for index in range(len(self._layers)):
            self._layers[index].cache = cache_struct(self._cache, index)

    def close(self) -> None:
        """See ``Runner``."""
        self._threads.close()

    def _pack(self, model: Any, form: Format) -> tuple[list[_Packed], PackedWeight]:
        head = model.get_output_embeddings()
        with ThreadPoolExecutor(self._threads.count) as pool:
            packing = pool.submit(self._packed, form.of_output, (head,))
            layers = list(pool.map(lambda layer: self._pack_layer(layer, form), model.model.layers))
            return layers, packing.result()

    def _pack_layer(self, layer: Any, form: Format) -> _Packed:
        attention, mlp = layer.self_attn, layer.mlp
        return _Packed(
            self._packed(form, (attention.q_proj, attention.k_proj, attention.v_proj)),
            self._packed(form, (attention.o_proj,)),
            self._packed(form, (mlp.gate_proj, mlp.up_proj)),
            self._packed(form, (mlp.down_proj,)),
        )

    def _packed(self, form: Format, linears: Sequence[Any]) -> PackedWeight:
        weights = [each.weight.detach() for each in linears]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [each.bias for each in linears if each.bias is not None]
        bias = None if not biases else torch.cat([each.detach().float() for each in biases])
        for each in linears:
            each.weight = None
        return PackedWeight(self._library, weight, bias, form)

    def _layer(self, index: int, layer: Any, packed: _Packed) -> LayerStruct:
        attention, cache = layer.self_attn, self._cache
        return LayerStruct(
            attention_norm=self._norm(layer.input_layernorm),
            mlp_norm=self._norm(layer.post_attention_layernorm),
            query_norm=self._norm(getattr(attention, "q_norm", None)),
            key_norm=self._norm(getattr(attention, "k_norm", None)),
            qkv=packed.qkv.struct,
            output=packed.output.struct,
            gate_up=packed.gate_up.struct,
            down=packed.down.struct,
            cache=cache_struct(cache, index),
            window=_sliding_window(attention),
        )

    def _norm(self, module: Any | None) -> int | None:
        if module is None:
            return None
        weight = module.weight.detach().float().contiguous()
        self._norms.append(weight)
        return int(weight.data_ptr())

    def _rotary_tables(self, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        reach = self._cache.blocks * self._cache.block_tokens
        # 0 is no limit, see ``BuiltModel``.
        if model.config.max_position_embeddings > 0:
            reach = min(reach, model.config.max_position_embeddings)
        positions = torch.arange(reach)[None]
        cosine, sine = model.model.rotary_emb(torch.empty(0, dtype=torch.float32), positions)
        half = cosine.shape[-1] // 2
        return cosine[0, :, :half].contiguous(), sine[0, :, :half].contiguous()


def _sliding_window(attention: Any) -> int:
    """Return how many tokens back an attention module looks, itself included; 0 is all."""
    if hasattr(attention, "sliding_window"):
        return int(attention.sliding_window or 0)
    if hasattr(attention.config, "layer_types") and attention.config.layer_types:
        return 0
    return int(getattr(attention.config, "sliding_window", None) or 0)


def _dim(config: Any) -> int:
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def _weights(held: Sequence[_Packed | PackedWeight]) -> Iterator[PackedWeight]:
    for each in held:
        if isinstance(each, PackedWeight):
            yield each
        else:
            yield from (each.qkv, each.output, each.gate_up, each.down)
