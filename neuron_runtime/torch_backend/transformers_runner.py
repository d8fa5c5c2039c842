"""Runs any decoder of transformers that attends through its attention interface."""

from __future__ import annotations

from typing import Any, final

import torch

from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.local_linear import LocalLinear
from neuron_runtime.torch_backend.native.library import Threads
from neuron_runtime.torch_backend.paged_attention import PagedAttention
from neuron_runtime.torch_backend.parked_tensors import ParkedTensors, tensors_of

FEW_ROWS = 8
SHARED_BYTES = 4 << 20
"""PERF: to wake threads for a small step's product takes longer than one thread needs for fewer
bytes (SmolLM2 with two threads: 45 ms a token, with one 28 ms)."""


@final
class TransformersRunner:
    """Implements ``Runner`` with transformers' own modules.

    Args:
        module: The model, its linear layers local ones that have settled.
        attention: The function that it was built to call.
        threads: Those of the kernels, if its layers use them.
        torch_threads: How many threads torch's operators may use.
    """

    def __init__(
        self,
        module: Any,
        attention: PagedAttention,
        device: torch.device,
        threads: Threads | None,
        torch_threads: int,
    ) -> None:
        self._module, self._attention, self._device = module, attention, device
        self._threads, self._torch_threads = threads, torch_threads
        self._parked: ParkedTensors | None = None
        linears = [each for each in module.modules() if isinstance(each, LocalLinear)]
        held = {each.data_ptr(): each.nbytes for each in module.parameters()}
        self.weight_bytes = sum(held.values()) + sum(each.held_bytes for each in linears)
        wide = self.weight_bytes // max(1, len(linears)) >= SHARED_BYTES
        self._few_threads = torch_threads if wide else 1

    def forward(self, batch: Batch) -> torch.Tensor:
        """See ``Runner``."""
        few = len(batch.tokens) <= FEW_ROWS
        torch.set_num_threads(self._few_threads if few else self._torch_threads)
        self._attention.begin(batch)
        output = self._module(
            input_ids=batch.tokens.to(self._device).long()[None],
            position_ids=batch.positions.to(self._device).long()[None],
            use_cache=False,
            logits_to_keep=batch.wanted.to(self._device).long(),
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def warm_up(self) -> int:
        """Feed one token; return in how many layers it was attended by us."""
        tables = torch.zeros((1, 1), dtype=torch.int32)
        self.forward(Batch.of((Span(0, 1, 0, 0),), [0], [0], tables))
        return len(self._attention.layers)

    def sleep(self) -> None:
        """See ``Runner``. On a CPU the weights are where they belong."""
        if self._device.type != "cpu":
            self._parked = ParkedTensors(tensors_of(self._module), self._device)

    def wake(self) -> None:
        """See ``Runner``."""
        if self._parked is not None:
            self._parked.restore()
            self._parked = None

    def close(self) -> None:
        """See ``Runner``."""
        if self._threads is not None:
            self._threads.close()
