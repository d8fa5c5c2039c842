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
from neuron_runtime.torch_backend.parallel_plan import ParallelPlan, Style


@final
class ColumnParallelLinear(nn.Linear):
    """Computes this rank's slice of the outputs; if ``gathered``, all of them in the end."""

    def __init__(
        self, whole: nn.Linear, outputs: int, collectives: Collectives, *, gathered: bool
    ) -> None:
        super().__init__(whole.in_features, outputs, bias=whole.bias is not None)
        self._collectives, self._gathered = collectives, gathered

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the local rows."""
        part = functional.linear(input, self.weight, self.bias)
        return self._collectives.gather_everywhere(part) if self._gathered else part


@final
class RowParallelLinear(nn.Linear):
    """Multiplies its slice of the inputs; the ranks' results are added up, then the bias once."""

    def __init__(
        self, whole: nn.Linear, inputs: range, collectives: Collectives, *, split_input: bool
    ) -> None:
        super().__init__(len(inputs), whole.out_features, bias=whole.bias is not None)
        self._collectives = collectives
        self._slice = slice(inputs.start, inputs.stop) if split_input else slice(None)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the local columns and add up over the ranks."""
        part = functional.linear(input[..., self._slice], self.weight)
        total = self._collectives.add_up(part)
        return total if self.bias is None else total + self.bias


@final
class VocabularyParallelLinear(nn.Linear):
    """The output layer: this rank's slice of the logits, put together on rank 0.

    On other ranks the result is of no use to anybody.
    """

    def __init__(self, whole: nn.Linear, tokens: range, collectives: Collectives) -> None:
        super().__init__(whole.in_features, len(tokens), bias=whole.bias is not None)
        self._collectives, self._vocabulary = collectives, whole.out_features
        self._share = -(-whole.out_features // collectives.world_size)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute the local logits and gather them."""
        part = functional.linear(input, self.weight, self.bias)
        padded = functional.pad(part, (0, self._share - part.shape[-1]))
        whole = self._collectives.gather(padded)
        return part if whole is None else whole[..., : self._vocabulary]


def parallelize(model: nn.Module, head: str, plan: ParallelPlan, collectives: Collectives) -> None:
    """Replace the linear layers that ``plan`` divides, and the output layer ``head``, in place.

    Raises:
        PlacementError: A layer cannot be divided.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        replacement = _replacement(name, module, head, plan, collectives)
        if replacement is not None:
            model.set_submodule(name, replacement)
        _share_key_value_heads(model, name, plan)


def _replacement(
    name: str, whole: nn.Linear, head: str, plan: ParallelPlan, collectives: Collectives
) -> nn.Linear | None:
    if name == head:
        tokens = plan.vocabulary(whole.out_features)
        return VocabularyParallelLinear(whole, tokens, collectives)
    style = plan.style(name)
    if style is Style.REPLICATED:
        return None
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
