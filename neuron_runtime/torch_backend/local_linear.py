"""A linear layer on one rank, with its weight in the form that steps read fastest.

A decode step is one pass over all weights, so their form decides its speed. On a CPU that has the
kernels, float32 layers read packed weights: as float16 where that is exact, or rounded to eight or
four bits. Decision 0010 has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from neuron_runtime.torch_backend.native.library import Threads
from neuron_runtime.torch_backend.native.packed_weight import GROUP, Format, PackedWeight

_LARGEST_HALF = 65504.0


@dataclass(frozen=True, slots=True)
class WeightForm:
    """How a rank holds its weights: ``quant`` is none, int8 or int4.

    ``library`` and ``threads`` are those of the CPU kernels, None where they cannot be used.
    """

    device: torch.device
    dtype: torch.dtype
    quant: str = "none"
    library: Any = None
    threads: Threads | None = None

    def packing(self, weight: torch.Tensor, *, output: bool = False) -> Format | None:
        """Return the packed format for a weight as it was read, or None to leave it a tensor.

        An ``output`` layer keeps eight bits where others have four.
        """
        if self.library is None or self.dtype is not torch.float32 or self.device.type != "cpu":
            return None
        packing = Format.of(self.quant)
        if packing is Format.F16 and not fits_half(weight):
            return None
        return packing.of_output if output else packing


class LocalLinear(nn.Linear):
    """What this rank holds of a linear layer.

    ``weight`` is filled with the tensor as it was read; ``settle`` gives it its final form.
    """

    adds_bias = True
    _packed: PackedWeight | None = None
    _threads: Threads | None = None
    _scale: torch.Tensor | None = None

    @classmethod
    def like(cls, whole: nn.Linear) -> LocalLinear:
        """Return one that holds all of ``whole``."""
        return cls(whole.in_features, whole.out_features, bias=whole.bias is not None)

    @property
    def held_bytes(self) -> int:
        """How much memory the weight takes beside the module's parameters."""
        return self._packed.nbytes if self._packed is not None else 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply, and add the bias unless ``adds_bias`` is off."""
        if self._packed is not None and self._threads is not None:
            return self._packed.multiply(self._threads, input)
        bias = self.bias if self.adds_bias else None
        if self._scale is None:
            return functional.linear(input, self.weight, bias)
        product = functional.linear(input, self.weight.to(input.dtype)) * self._scale
        return product if bias is None else product + bias

    def settle(self, form: WeightForm, *, output: bool = False) -> None:
        """Bring the weight to its device and form; ``output`` says that it makes logits.

        Where the kernels cannot be used, four bits round the weight as they would with them, but
        save no memory.
        """
        weight = self.weight.detach()
        packing = form.packing(weight, output=output)
        if packing is not None:
            bias = self.bias if self.adds_bias else None
            self._packed = PackedWeight(form.library, weight, bias, packing)
            self._threads = form.threads
            weight = torch.empty(0, dtype=form.dtype)
        elif form.quant == "none":
            weight = _laid_out(weight, form)
        elif form.quant == "int8" or output:
            weight, self._scale = _rounded(weight, form)
        else:
            weight = _laid_out(_of_sixteen_levels(weight), form)
        self.weight = nn.Parameter(weight, requires_grad=False)


def fits_half(weight: torch.Tensor) -> bool:
    """Say whether float16 holds these numbers exactly, but for a rounding of at most 2 ** -25.

    It has three more bits of precision than bfloat16, but a smaller range.
    """
    # The last ranks may have no part of a small vocabulary.
    if weight.dtype is torch.bfloat16 and weight.numel():
        least, most = weight.aminmax()
        return max(-least.item(), most.item()) <= _LARGEST_HALF
    return weight.dtype is torch.float16


def _rounded(weight: torch.Tensor, form: WeightForm) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to eight bits with one scale for each output."""
    rows = weight.to(device=form.device, dtype=torch.float32)
    scale = rows.abs().amax(dim=1).clamp_min(1e-12) / 127
    return (rows / scale[:, None]).round().to(torch.int8), scale.to(form.dtype)


def _of_sixteen_levels(weight: torch.Tensor) -> torch.Tensor:
    """Round each group of inputs to sixteen levels from its least to its largest number."""
    outputs, inputs = weight.shape
    padded = functional.pad(weight.float(), (0, -inputs % GROUP))
    groups = padded.view(outputs, padded.shape[1] // GROUP, GROUP)
    least = groups.amin(-1, keepdim=True).half().float()
    step = ((groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)) / 15).half().float()
    level = ((groups - least) / step.clamp_min(1e-12)).round().clamp(0, 15)
    return (least + level * step).flatten(1)[:, :inputs]


def _laid_out(weight: torch.Tensor, form: WeightForm) -> torch.Tensor:
    """Return a weight that is not packed.

    PERF: on CPUs for which MKL has no kernel of its own (AMD's), its float32 product of a matrix
    and a vector reads a tall matrix up to 1.9 times as fast by columns as by rows. Prefill does
    not care.
    """
    device, dtype = form.device, form.dtype
    if device.type != "cpu" or dtype is not torch.float32 or weight.shape[0] < weight.shape[1]:
        return weight.to(device=device, dtype=dtype)
    by_columns = torch.empty(weight.shape[::-1], dtype=dtype)
    return by_columns.copy_(weight.t()).t()
