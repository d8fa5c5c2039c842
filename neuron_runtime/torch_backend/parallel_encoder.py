"""Dividing a loaded transformer without a head among the ranks of a group."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuron_runtime.torch_backend.collectives import Collectives
from neuron_runtime.torch_backend.local_linear import LocalLinear, WeightForm
from neuron_runtime.torch_backend.parallel_linear import localize
from neuron_runtime.torch_backend.parallel_plan import Geometry, ParallelPlan


def divide(module: Any, config: Any, collectives: Collectives, device: torch.device) -> None:
    """Keep this rank's part of every linear layer, in place; a single rank keeps all.

    Raises:
        PlacementError: The model cannot be divided among this many ranks.
    """
    plan = ParallelPlan(
        getattr(module, "_tp_plan", None) or {},
        Geometry.from_config(config.to_dict()),
        collectives.rank,
        collectives.world_size,
    )
    if collectives.world_size == 1:
        return
    whole = {name: each for name, each in module.named_modules() if type(each) is nn.Linear}
    with torch.device("meta"):
        localize(module, None, plan, collectives)
    for name, linear in whole.items():
        local = module.get_submodule(name)
        _fill(name, local, linear, plan)
        local.settle(WeightForm(device, linear.weight.dtype))


def _fill(name: str, local: LocalLinear, whole: nn.Linear, plan: ParallelPlan) -> None:
    weight = whole.weight.detach()
    outputs = plan.outputs(name, weight.shape[0])
    inputs = plan.inputs(name, weight.shape[1])
    rows = torch.cat([weight[part.start : part.stop] for part in outputs.parts])
    columns = torch.cat([rows[:, part.start : part.stop] for part in inputs.parts], dim=1)
    local.weight = nn.Parameter(columns, requires_grad=False)
    if whole.bias is not None:
        bias = whole.bias.detach()
        parts = torch.cat([bias[part.start : part.stop] for part in outputs.parts])
        local.bias = nn.Parameter(parts, requires_grad=False)
