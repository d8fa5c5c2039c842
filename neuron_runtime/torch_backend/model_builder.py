"""Builds one rank's part of a transformers model without ever holding the whole.

The modules are transformers' own, created on the meta device; the linear layers that the model's
tensor-parallel plan divides are replaced; parameters are read in the parts that this rank needs.

Importing this module is most of a cold start (decision 0003). It imports transformers' base class
of models, which a rank does while its engine still starts; a model's own module is a small rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from neuron_runtime.model_errors import ModelFilesError, SourceCorrupt
from neuron_runtime.model_files import CONFIG, read_json
from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.local_linear import LocalLinear
from neuron_runtime.torch_backend.parallel_linear import VocabularyParallelLinear, localize
from neuron_runtime.torch_backend.parallel_plan import Cut, Geometry, ParallelPlan
from neuron_runtime.torch_backend.shard_reader import ShardReader


class UnknownArchitecture(ModelFilesError):
    """transformers has no causal language model for this config."""


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model, or a rank's part of one, ready to run."""

    module: Any
    config: Any
    weight_bytes: int

    @property
    def context_length(self) -> int:
        """How many tokens a sequence may have; 0 is no limit."""
        text = self.config.get_text_config()
        return int(getattr(text, "max_position_embeddings", None) or 0)

    @property
    def bytes_per_linear(self) -> int:
        """How many bytes a linear layer reads in a decode step, on average."""
        linears = sum(isinstance(module, LocalLinear) for module in self.module.modules())
        return self.weight_bytes // max(1, linears)

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return int(self.config.get_text_config().vocab_size)


def build_model(
    model_dir: Path, collectives: Collectives, device: torch.device, dtype: torch.dtype
) -> BuiltModel:
    """Build this rank's part of the model in ``model_dir``.

    Raises:
        ModelFilesError: The files are missing, malformed, or of an unknown architecture.
        PlacementError: The model cannot be divided among this many ranks.
    """
    config, model = _skeleton(model_dir, dtype)
    plan = ParallelPlan(
        getattr(model, "_tp_plan", None) or {},
        Geometry.from_config(config.to_dict()),
        collectives.rank,
        collectives.world_size,
    )
    with torch.device("meta"):
        localize(model, model.get_output_embeddings(), plan, collectives)
    with ShardReader(model_dir) as reader:
        weight_bytes = _Filling(model, reader, plan, device, dtype).fill()
    _compute_buffers(model, device)
    return BuiltModel(model, config, weight_bytes)


def _skeleton(model_dir: Path, dtype: torch.dtype) -> tuple[Any, PreTrainedModel]:
    # Without this, transformers would take the name of a missing directory for a repository's.
    read_json(model_dir / CONFIG)
    try:
        config = AutoConfig.from_pretrained(model_dir)
        model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise UnknownArchitecture(f"{model_dir}: {error}") from error
    config.dtype = dtype
    with torch.device("meta"):
        return config, model_class(config).eval()


class _Filling:
    """Puts real tensors in the place of meta ones."""

    def __init__(
        self,
        model: PreTrainedModel,
        reader: ShardReader,
        plan: ParallelPlan,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._model, self._reader, self._plan = model, reader, plan
        self._device, self._dtype = device, dtype
        self._tied: dict[str, str] = dict(model.all_tied_weights_keys)

    def fill(self) -> int:
        """Fill every parameter, and every buffer that is stored; return the bytes held."""
        for name, parameter in list(self._model.named_parameters(remove_duplicate=False)):
            self._put(name, nn.Parameter(self._read(name, parameter), requires_grad=False))
        for name, _ in list(self._model.named_buffers()):
            if name in self._reader:
                self._put(name, self._on_device(self._reader.read(name)))
        linears = [m for m in self._model.modules() if isinstance(m, LocalLinear)]
        for linear in linears:
            linear.settle(self._device, self._dtype)
        held: dict[int, int] = {p.data_ptr(): p.nbytes for p in self._model.parameters()}
        return sum(held.values()) + sum(linear.packed_bytes for linear in linears)

    def _read(self, name: str, parameter: torch.Tensor) -> torch.Tensor:
        """Return a parameter's part: as it is stored if a linear layer still has to form it."""
        stored = self._tied.get(name, name)
        if stored not in self._reader:
            stored = name
        tensor = self._reader.read(stored, self._cut(name, stored, parameter.shape))
        if tensor.shape != parameter.shape:
            raise SourceCorrupt(
                f"{stored} is {tuple(tensor.shape)}; the model needs {tuple(parameter.shape)}"
            )
        module, _, leaf = name.rpartition(".")
        if leaf == "weight" and isinstance(self._model.get_submodule(module), LocalLinear):
            return tensor
        return self._on_device(tensor)

    def _cut(self, name: str, stored: str, local: torch.Size) -> Cut | None:
        """Return which part of the stored tensor this parameter is; None is all of it."""
        shape = self._reader.shape(stored)
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
        table[leaf] = tensor

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self._dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(device=self._device, dtype=dtype)


def _compute_buffers(model: PreTrainedModel, device: torch.device) -> None:
    """Compute what is in no file (rotary frequencies) the way transformers itself does it."""
    for module in model.modules():
        absent = [k for k, b in module._buffers.items() if b is not None and b.is_meta]
        for key in absent:
            module._buffers[key] = torch.empty_like(module._buffers[key], device=device)
        if absent:
            with torch.no_grad():
                model._init_weights(module)
