"""Weights whose files call them otherwise than the model does.

A checkpoint keeps the names of the code that wrote it: GPT-2's lack the model's prefix, Pythia's
output layer is ``embed_out``, Gemma 3's text model was ``language_model.model`` once. transformers
knows what became of them, and renames on loading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.modeling_utils import PreTrainedModel

from neuron_runtime.torch_backend.model_weights import Weights
from neuron_runtime.torch_backend.parallel_plan import Cut


@final
class RenamedWeights:
    """Implements ``Weights``; ``stored`` says which of a model's are called what in ``weights``."""

    def __init__(self, weights: Weights, stored: Mapping[str, str]) -> None:
        self._weights, self._stored = weights, stored

    def __contains__(self, tensor: str) -> bool:
        return self._name(tensor) in self._weights

    def shape(self, tensor: str) -> tuple[int, ...]:
        """See ``Weights``."""
        return self._weights.shape(self._name(tensor))

    def read(self, tensor: str, cut: Cut | None = None) -> torch.Tensor:
        """See ``Weights``."""
        return self._weights.read(self._name(tensor), cut)

    def _name(self, tensor: str) -> str:
        return self._stored.get(tensor, tensor)


def stored_names(model: PreTrainedModel, stored: Iterable[str]) -> dict[str, str] | None:
    """Return what the tensors of a model are called in its files, of those with another name there.

    None if something of ``stored`` is only a part of a tensor, or several in one.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    own = model.state_dict()
    names: dict[str, str] = {}
    for each in stored:
        if each in own:
            continue
        name, converted = rename_source_key(
            each, renamings, converters, model.base_model_prefix, own
        )
        if converted is not None:
            return None
        names.setdefault(name, each)
    return names
