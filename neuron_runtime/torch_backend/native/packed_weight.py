"""A linear layer's weight in the form that the kernels read."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any, final

import torch

from neuron_runtime.torch_backend.native.library import LinearStruct, Threads

GROUP = 32
BLOCK = 8

_STORED = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""What the kernels read as it is."""


class Format(IntEnum):
    """How a weight is held; INT8 and INT4 have a scale for each group of 32 inputs.

    Activations are then rounded to eight bits with a scale of their own for each group, as
    llama.cpp does. F16 keeps them in float32.
    """

    F16 = 0
    INT8 = 1
    INT4 = 2

    @classmethod
    def of(cls, quant: str) -> Format:
        """Return what the catalogue calls ``quant``: none, int8 or int4."""
        return {"none": cls.F16, "int8": cls.INT8, "int4": cls.INT4}[quant]

    @property
    def of_output(self) -> Format:
        """How the layer that makes logits is then held.

        Four bits cost more in quality there than they save in time.
        """
        return Format.INT8 if self is Format.INT4 else self


@final
class PackedWeight:
    """A packed weight of ``outputs`` by ``inputs`` with its bias.

    Args:
        library: What ``kernels()`` returned.
        weight: [outputs, inputs], any floating dtype; not kept.
        bias: [outputs], or None.
        form: How to hold it; INT8 and INT4 round to the nearest.
    """

    def __init__(
        self, library: Any, weight: torch.Tensor, bias: torch.Tensor | None, form: Format
    ) -> None:
        self._library = library
        self.outputs, self.inputs = weight.shape
        rows = weight.detach().contiguous()
        if rows.dtype not in _STORED:
            rows = rows.to(torch.float32)
        blocks, groups = -(-self.outputs // BLOCK), -(-self.inputs // GROUP)
        size = library.cx_packed_bytes(form, self.outputs, self.inputs)
        self._weight = torch.empty(size, dtype=torch.uint8)
        scales = blocks * groups * BLOCK if form is not Format.F16 else 0
        self._scale = torch.empty(scales, dtype=torch.float16)
        self._minimum = torch.empty(scales if form is Format.INT4 else 0, dtype=torch.float16)
        library.cx_pack(
            form,
            _STORED[rows.dtype],
            rows.data_ptr(),
            self.outputs,
            self.inputs,
            self._weight.data_ptr(),
            self._scale.data_ptr(),
            self._minimum.data_ptr(),
        )
        self._bias = None if bias is None else torch.zeros(blocks * BLOCK, dtype=torch.float32)
        if self._bias is not None and bias is not None:
            self._bias[: self.outputs] = bias.detach()
        self.struct = LinearStruct(
            format=form,
            inputs=self.inputs,
            outputs=self.outputs,
            groups=groups,
            weight=self._weight.data_ptr(),
            scale=self._scale.data_ptr(),
            minimum=self._minimum.data_ptr(),
            bias=None if self._bias is None else self._bias.data_ptr(),
        )

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._weight.nbytes + self._scale.nbytes + self._minimum.nbytes)

    def multiply(self, threads: Threads, rows: torch.Tensor) -> torch.Tensor:
        """Return ``rows`` [..., inputs] (float32, CPU) times the weight, plus bias.

        Raises:
            MemoryError: There is no memory for the intermediate values.
        """
        rows = rows.contiguous()
        out = torch.empty((*rows.shape[:-1], self.outputs), dtype=torch.float32)
        count = rows.numel() // self.inputs
        code = self._library.cx_linear_forward(
            threads.handle, ctypes.byref(self.struct), rows.data_ptr(), count, out.data_ptr()
        )
        if code:
            msg = f"no memory to multiply {count} rows"
            raise MemoryError(msg)
        return out
