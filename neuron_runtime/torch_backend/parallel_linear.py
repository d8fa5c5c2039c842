"""Linear layers of which each rank holds a part.

They hold plain local tensors: no DTensor, so a layer costs one matrix product and at most one
collective. Created on the meta device; ``model_builder`` fills them.
"""

from __future__ import annotations

from typing import final

import torch
from torch import nn
from torch.nn import functional

from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.local_linear import LocalLinear
from neuron_runtime.torch_backend.parallel_plan import ParallelPlan, Style


@final
class ColumnParallelLinear(LocalLinear):
    """Computes this rank's slice of the outputs; if ``gathered``, all of them in the end."""

    def __init__(
        self, whole: nn.Linear, outputs: int, collectives: Collectives, *, gathered: bool
    ) -> None:
        super().__init__(whole.in_features, outputs, bias=whole.bias is not None)
        self._collectives, self._gathered = collectives, gathered

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the local rows."""
        part = super().forward(input)
        return self._collectives.gather_everywhere(part) if self._gathered else part


@final
class RowParallelLinear(LocalLinear):
    """Multiplies its slice of the inputs; the ranks' results are added up, then the bias once."""

    adds_bias = False

    def __init__(
        self, whole: nn.Linear, inputs: range, collectives: Collectives, *, split_input: bool
    ) -> None:
        super().__init__(len(inputs), whole.out_features, bias=whole.bias is not None)
        self._collectives = collectives
        self._slice = slice(inputs.start, inputs.stop) if split_input else None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the local columns and add up over the ranks."""
        part = super().forward(input[..., self._slice] if self._slice else input)
        total = self._collectives.add_up(part)
        return total if self.bias is None else total + self.bias


@final
class VocabularyParallelLinear(LocalLinear):
    """The output layer: this rank's slice of the logits, put together on rank 0.

    On other ranks the result is of no use to anybody.
    """

    def __init__(self, whole: nn.Linear, tokens: range, collectives: Collectives) -> None:
        super().__init__(whole.in_features, len(tokens), bias=whole.bias is not None)
        self._collectives, self._vocabulary = collectives, whole.out_features
        self._share = -(-whole.out_features // collectives.world_size)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute the local logits and gather them."""
        part = super().forward(input)
        padded = functional.pad(part, (0, self._share - part.shape[-1]))
        whole = self._collectives.gather(padded)
        return part if whole is None else whole[..., : self._vocabulary]


def localize(
    model: nn.Module, head: nn.Module | None, plan: ParallelPlan, collectives: Collectives
) -> None:
    """Replace all linear layers of ``model``, of which ``head`` is the output layer, in place.

    Raises:
        PlacementError: A layer cannot be divided.
    """
    for name, module in list(model.named_modules()):
        # Not a subclass, which may do something else.
        if type(module) is not nn.Linear:
            continue
        if module is head and plan.world_size > 1:
            tokens = plan.vocabulary(module.out_features)
            local: LocalLinear = VocabularyParallelLinear(module, tokens, collectives)
        else:
            local = _local(name, module, plan, collectives)
        model.set_submodule(name, local)
        _share_key_value_heads(model, name, plan)


def _local(
    name: str, whole: nn.Linear, plan: ParallelPlan, collectives: Collectives
) -> LocalLinear:
    style = plan.style(name)
    if style is Style.REPLICATED:
        return LocalLinear.like(whole)
    if style in (Style.ROW, Style.ROW_SPLIT_INPUT):
        inputs = plan.inputs(name, whole.in_features).parts[0]
        split = style is Style.ROW_SPLIT_INPUT
        return RowParallelLinear(whole, inputs, collectives, split_input=split)
    outputs = plan.outputs(name, whole.out_features).size
    gathered = style is Style.COLUMN_GATHERED
    return ColumnParallelLinear(whole, outputs, collectives, gathered=gathered)


def _share_key_value_heads(model: nn.Module, name: str, plan: ParallelPlan) -> None:
    """Tell the attention around ``name`` how many query heads share one key-value head here."""
    parent, _, leaf = name.rpartition(".")
    if leaf == "k_proj" and plan.style(name) is Style.COLUMN:
        attention = model.get_submodule(parent)
        if hasattr(attention, "num_key_value_groups"):
            attention.num_key_value_groups = plan.query_heads_per_kv_head  # type: ignore[assignment]
