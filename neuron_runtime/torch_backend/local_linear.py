"""A linear layer on one rank, with its weight in the form that decode steps read fastest.

On a CPU a decode step is one pass over all weights, so their form decides its speed. float32 layers
hold weights that came as 16-bit numbers packed by FBGEMM as float16: half the bytes, float32
activations and sums, a kernel for every x86 CPU. Decision 0007 has the measurements.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

_LARGEST_HALF = 65504.0
_ENGINES = ("x86", "fbgemm")
_multiply_packed: Any = torch.ops.quantized.linear_dynamic_fp16.default


class LocalLinear(nn.Linear):
    """What this rank holds of a linear layer.

    ``weight`` is filled with the tensor as it was read; ``settle`` gives it its final form.
    """

    adds_bias = True
    _packed: Any = None

    @classmethod
    def like(cls, whole: nn.Linear) -> LocalLinear:
        """Return one that holds all of ``whole``."""
        return cls(whole.in_features, whole.out_features, bias=whole.bias is not None)

    @property
    def packed_bytes(self) -> int:
        """How much memory the packed weight takes."""
        return 0 if self._packed is None else 2 * self.in_features * self.out_features

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply, and add the bias unless ``adds_bias`` is off."""
        if self._packed is not None:
            product: torch.Tensor = _multiply_packed(input, self._packed)
            return product
        return functional.linear(input, self.weight, self.bias if self.adds_bias else None)

    def settle(self, device: torch.device, dtype: torch.dtype) -> None:
        """Bring the weight to its device, dtype and form."""
        weight = self.weight.detach()
        if _packs_exactly(weight, device, dtype):
            bias = self.bias if self.adds_bias else None
            self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), bias)
            weight = torch.empty(0, dtype=dtype)
        else:
            weight = _laid_out(weight, device, dtype)
        self.weight = nn.Parameter(weight, requires_grad=False)


def _packs_exactly(weight: torch.Tensor, device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether float16 holds these numbers exactly, but for a rounding of at most 2 ** -25.

    It has three more bits of precision than bfloat16, but a smaller range.
    """
    if device.type != "cpu" or dtype is not torch.float32:
        return False
    if torch.backends.quantized.engine not in _ENGINES:
        return False
    if weight.dtype is torch.bfloat16:
        least, most = weight.aminmax()
        return max(-least.item(), most.item()) <= _LARGEST_HALF
    return weight.dtype is torch.float16


def _laid_out(weight: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return a weight that is not packed.

    PERF: on CPUs for which MKL has no kernel of its own (AMD's), its float32 product of a matrix
    and a vector reads a tall matrix up to 1.9 times as fast by columns as by rows. Prefill does
    not care.
    """
    if device.type != "cpu" or dtype is not torch.float32 or weight.shape[0] < weight.shape[1]:
        return weight.to(device=device, dtype=dtype)
    by_columns = torch.empty(weight.shape[::-1], dtype=dtype)
    return by_columns.copy_(weight.t()).t()
