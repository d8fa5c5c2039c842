"""Builds one rank's part of a transformers model without ever holding the whole.

The modules are transformers' own, created on the meta device; the linear layers are replaced by
local ones, divided by the model's tensor-parallel plan; parameters are read in the parts that this
rank needs. A model of Llama's kind on a CPU with the kernels then leaves transformers behind.

Importing this module is most of a cold start (decision 0003). It imports transformers' base class
of models, which a rank does while its engine still starts; a model's own module is a small rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers.core_model_loading import build_glob_alternation
from transformers.modeling_utils import PreTrainedModel

from neuron_runtime.model_errors import SourceCorrupt
from neuron_runtime.torch_backend.attention_probe import (
    refuse_unattended,
    refuse_unless_all,
    refuse_with_weights,
)
from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.graphs.choice import decode_recorder, experts_by_shape
from neuron_runtime.torch_backend.local_linear import LocalLinear, WeightForm, fits_half
from neuron_runtime.torch_backend.long_rope import LongRope, short_context
from neuron_runtime.torch_backend.model_skeleton import make_skeleton, quantized_by
from neuron_runtime.torch_backend.model_weights import LoadedWeights, Weights
from neuron_runtime.torch_backend.native.decoder import NativeDecoder, runs_natively
from neuron_runtime.torch_backend.native.library import BLOCKS, Threads, kernels
from neuron_runtime.torch_backend.native.packed_weight import Format
from neuron_runtime.torch_backend.paged_attention import PagedAttention
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache
from neuron_runtime.torch_backend.parallel_linear import VocabularyParallelLinear, localize
from neuron_runtime.torch_backend.parallel_plan import (
    Cut,
    Geometry,
    ParallelPlan,
    PlacementError,
)
from neuron_runtime.torch_backend.renamed_weights import RenamedWeights, stored_names
from neuron_runtime.torch_backend.runner import Runner
from neuron_runtime.torch_backend.shard_reader import ShardReader
from neuron_runtime.torch_backend.transformers_runner import TransformersRunner
from transports.schemas.group import LoadShard

_log = logging.getLogger("cortex.torch")


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model, or a rank's part of one, ready to run over its cache.

    ``context_length`` tokens a sequence may have; 0 is no limit. ``short_context`` as in
    ``ShardLoaded``.
    """

    runner: Runner
    cache: PagedCache
    context_length: int
    vocabulary: int
    short_context: int = 0


def build_model(
    shard: LoadShard,
    collectives: Collectives,
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
) -> BuiltModel:
    """Build this rank's part of the model in ``shard.model_dir``; ``threads`` compute on a CPU.

    Raises:
        ModelFilesError: The files are missing, malformed, or of an unknown architecture.
        PlacementError: The model cannot be divided among this many ranks.
        BackendError: There is no room for a cache, or the weights cannot be held as asked.
    """
    library = kernels() if device.type == "cpu" and shard.block_tokens in BLOCKS else None
    workers = Threads(library, threads) if library is not None else None
    form = WeightForm(device, dtype, shard.quant, library, workers)
    attention = PagedAttention(device, library, workers)
    model_dir = Path(shard.model_dir)
    model = make_skeleton(model_dir, dtype, attention.name)
    # PERF: what is known to attend needs no pass over its layers (some 10 ms each).
    known = _stated_shapes(model) if runs_natively(model) else refuse_unattended(model)
    by_shape = known is not None or experts_by_shape(model.config, dtype)
    if collectives.world_size > 1:
        known = _alike(model, known)
    short = short_context(model)
    recorder = decode_recorder(device, collectives, by_shape=by_shape)
    text = model.config.get_text_config()
    plan = ParallelPlan(
        getattr(model, "_tp_plan", None) or {},
        Geometry.from_config(model.config.to_dict()),
        collectives.rank,
        collectives.world_size,
    )
    with torch.device("meta"):
        localize(model, model.get_output_embeddings(), plan, collectives)
    with _weights(model, model_dir, plan) as weights:
        precision = _Precision(model, form.dtype)
        _Filling(model, weights, plan, form, precision).fill()
        _compute_buffers(model, device)
        rope = LongRope(model, short, device) if short else None
        natively = _natively(model, form, collectives)
        cache_dtype = torch.float16 if natively is not None and shard.quant != "none" else dtype
        if natively is None:
            _settle(model, form, precision)
        cache = PagedCache.sized(
            _shapes(model, known, device, collectives.world_size),
            shard.block_tokens,
            cache_dtype,
            device,
            shard.kv_bytes,
            collectives.world_size,
            spare=0 if recorder is None else 1,
        )
        if natively is not None and workers is not None:
            runner: Runner = NativeDecoder(library, model, natively, cache, workers)
        else:
            attention.use(cache)
            runner = TransformersRunner(model, attention, device, workers, threads, recorder, rope)
            _check(runner, model, collectives)
    context_length = int(getattr(text, "max_position_embeddings", None) or 0)
    return BuiltModel(runner, cache, context_length, text.vocab_size, short)


def _natively(model: PreTrainedModel, form: WeightForm, collectives: Collectives) -> Format | None:
    """Return how the kernels' decoder would hold the weights, or None if it cannot run them."""
    if form.library is None or collectives.world_size > 1 or not runs_natively(model):
        return None
    if form.dtype is not torch.float32:
        return None
    packing = Format.of(form.quant)
    linears = (each for each in model.modules() if isinstance(each, LocalLinear))
    if packing is Format.F16 and not all(fits_half(each.weight) for each in linears):
        return None
    return packing


def _check(runner: TransformersRunner, model: PreTrainedModel, collectives: Collectives) -> None:
    # Ranks of a group come here at different times, and one that failed to load never does.
    if collectives.world_size == 1:
        with torch.inference_mode():
            layers = runner.warm_up()
        refuse_unless_all(model, layers)


def _shapes(
    model: PreTrainedModel,
    known: tuple[CacheShape, ...] | None,
    device: torch.device,
    ranks: int,
) -> tuple[CacheShape, ...]:
    """Return what each layer of one of ``ranks`` keeps of a token; ``known`` is that of a whole."""
    known = known or refuse_with_weights(model, device)
    return tuple(CacheShape(max(1, each.kv_heads // ranks), each.dim) for each in known)


def _alike(model: PreTrainedModel, known: tuple[CacheShape, ...] | None) -> tuple[CacheShape, ...]:
    """Return what each layer keeps of a token: the same, or the model cannot be divided."""
    several = PlacementError(
        f"the layers of {type(model).__name__} have heads of several kinds, which is not"
        " supported on several devices; use one device"
    )
    try:
        known = known or _stated_shapes(model)
    except RuntimeError as error:
        # A config that states something else of each layer does not like to be asked of all.
        raise several from error
    if len(set(known)) > 1:
        raise several
    return known


def _stated_shapes(model: PreTrainedModel) -> tuple[CacheShape, ...]:
    text = model.config.get_text_config()
    heads = text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return (CacheShape(kv_heads, dim),) * int(text.num_hidden_layers)


@contextmanager
def _weights(model: PreTrainedModel, model_dir: Path, plan: ParallelPlan) -> Iterator[Weights]:
    with ShardReader(model_dir) as reader:
        found = None if quantized_by(model.config) else _as_stored(model, reader)
        if found is not None:
            yield found
            return
    if plan.world_size > 1:
        raise PlacementError(
            f"the files of {type(model).__name__} store weights in parts, which is not"
            " supported on several devices; use one device"
        )
    _log.info("weights joined by transformers model=%s", model_dir)
    yield LoadedWeights.by_transformers(type(model), model_dir, model.config.dtype)


def _as_stored(model: PreTrainedModel, reader: ShardReader) -> Weights | None:
    """Return the tensors as stored, or None if only transformers can make them of these."""
    if not _missing(model, reader):
        return reader
    names = stored_names(model, reader.names())
    return None if names is None else RenamedWeights(reader, names)


def _missing(model: PreTrainedModel, weights: Weights) -> bool:
    tied: dict[str, str] = dict(model.all_tied_weights_keys)
    names = (name for name, _ in model.named_parameters(remove_duplicate=False))
    return any(name not in weights and tied.get(name, name) not in weights for name in names)


class _Precision:
    """In which dtype a model holds its tensors: ``dtype``, but for those that would suffer by it.

    Experts are chosen by sums whose differences are finer than sixteen bits, for one.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        exact = model._get_dtype_plan(dtype)
        self._exact = build_glob_alternation(list(exact))[0] if exact else None
        self._dtype = dtype

    def of(self, name: str) -> torch.dtype:
        """Return that of the tensor ``name``."""
        exact = self._exact is not None and self._exact.search(name)
        return torch.float32 if exact else self._dtype


class _Filling:
    """Puts real tensors in the place of meta ones; linear layers get theirs as it was read."""

    def __init__(
        self,
        model: PreTrainedModel,
        weights: Weights,
        plan: ParallelPlan,
        form: WeightForm,
        precision: _Precision,
    ) -> None:
        self._model, self._weights, self._plan = model, weights, plan
        self._device, self._precision = form.device, precision
        self._tied: dict[str, str] = dict(model.all_tied_weights_keys)

    def fill(self) -> None:
        """Fill every parameter, and every buffer that is stored."""
        for name, parameter in list(self._model.named_parameters(remove_duplicate=False)):
            self._put(name, nn.Parameter(self._read(name, parameter), requires_grad=False))
        for name, _ in list(self._model.named_buffers()):
            if name in self._weights:
                self._put(name, self._on_device(name, self._weights.read(name)))

    def _read(self, name: str, parameter: torch.Tensor) -> torch.Tensor:
        """Return a parameter's part: as it is stored if a linear layer still has to form it."""
        stored = self._tied.get(name, name)
        if stored not in self._weights:
            stored = name
        tensor = self._weights.read(stored, self._cut(name, stored, parameter.shape))
        if tensor.shape != parameter.shape:
            raise SourceCorrupt(
                f"{stored} is {tuple(tensor.shape)}; the model needs {tuple(parameter.shape)}"
            )
        module, _, leaf = name.rpartition(".")
        if leaf == "weight" and isinstance(self._model.get_submodule(module), LocalLinear):
            return tensor
        return self._on_device(name, tensor)

    def _cut(self, name: str, stored: str, local: torch.Size) -> Cut | None:
        """Return which part of the stored tensor this parameter is; None is all of it."""
        shape = self._weights.shape(stored)
        if shape == tuple(local):
            return None
        module = name.rpartition(".")[0]
        if isinstance(self._model.get_submodule(module), VocabularyParallelLinear):
            return Cut(0, (self._plan.vocabulary(shape[0]),))
        cut = self._plan.outputs(module, shape[0])
        if cut.size == shape[0] and len(shape) > 1:
            cut = self._plan.inputs(module, shape[1])
        return cut

    def _put(self, name: str, tensor: torch.Tensor) -> None:
        owner, _, leaf = name.rpartition(".")
        module = self._model.get_submodule(owner)
        table = module._parameters if leaf in module._parameters else module._buffers
        # transformers must not initialise it again together with the module's computed buffers.
        tensor._is_hf_initialized = True  # type: ignore[attr-defined]
        table[leaf] = tensor

    def _on_device(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._precision.of(name) if tensor.is_floating_point() else tensor.dtype
        return tensor.to(device=self._device, dtype=dtype)


def _settle(model: PreTrainedModel, form: WeightForm, precision: _Precision) -> None:
    head, exact = model.get_output_embeddings(), replace(form, dtype=torch.float32, quant="none")
    for name, module in model.named_modules():
        if isinstance(module, LocalLinear):
            kept = precision.of(f"{name}.weight") is not form.dtype
            module.settle(exact if kept else form, output=module is head)


def _compute_buffers(model: PreTrainedModel, device: torch.device) -> None:
    """Compute what is in no file (rotary frequencies) the way transformers itself does it."""
    owners: dict[nn.Module, PreTrainedModel] = {}
    for module in model.modules():
        # A model within a model comes later, and knows best about its own modules.
        if isinstance(module, PreTrainedModel):
            owners |= dict.fromkeys(module.modules(), module)
    for module in model.modules():
        absent = [k for k, b in module._buffers.items() if b is not None and b.is_meta]
        for key in absent:
            module._buffers[key] = torch.empty_like(module._buffers[key], device=device)
        if absent:
            with torch.no_grad():
                owners[module]._init_weights(module)
