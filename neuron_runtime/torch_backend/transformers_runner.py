"""Runs any decoder of transformers that attends through its attention interface."""

from __future__ import annotations

from typing import Any, final

import torch

from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.graphs.decode_graphs import DecodeGraphs
from neuron_runtime.torch_backend.graphs.decode_layout import DecodeInputs, DecodeLayout
from neuron_runtime.torch_backend.graphs.recorder import Recorder
from neuron_runtime.torch_backend.local_linear import LocalLinear
from neuron_runtime.torch_backend.long_rope import LongRope
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
        attention: The function that it was built to call, over its cache.
        threads: Those of the kernels, if its layers use them.
        torch_threads: How many threads torch's operators may use.
        recorder: What records decode steps, whose cache has a spare block then; or None.
        rope: The model's rotary embeddings, if they depend on a sequence's length.
    """

    def __init__(
        self,
        module: Any,
        attention: PagedAttention,
        device: torch.device,
        threads: Threads | None,
        torch_threads: int,
        recorder: Recorder | None = None,
        rope: LongRope | None = None,
    ) -> None:
        self._module, self._attention, self._device = module, attention, device
        self._threads, self._torch_threads = threads, torch_threads
        self._rope = rope
        self._parked: ParkedTensors | None = None
        self._graphs: DecodeGraphs | None = None
        if recorder is not None:
            layout = DecodeLayout(attention.cache.block_tokens, attention.cache.blocks)
            self._graphs = DecodeGraphs(self._decode, recorder, layout, device)
        linears = [each for each in module.modules() if isinstance(each, LocalLinear)]
        held = {each.data_ptr(): each.nbytes for each in module.parameters()}
        self.weight_bytes = sum(held.values()) + sum(each.held_bytes for each in linears)
        wide = self.weight_bytes // max(1, len(linears)) >= SHARED_BYTES
        self._few_threads = torch_threads if wide else 1

    def forward(self, batch: Batch) -> torch.Tensor:
        """See ``Runner``."""
        few = len(batch.tokens) <= FEW_ROWS
        torch.set_num_threads(self._few_threads if few else self._torch_threads)
        if self._graphs is None:
            return self._eager(batch)
        try:
            logits = self._graphs.forward(batch)
            return self._eager(batch) if logits is None else logits
        except torch.OutOfMemoryError:
            # What graphs hold may be what the repetition lacks.
            self._graphs.drop()
            raise

    def warm_up(self) -> int:
        """Feed one token; return in how many layers it was attended by us."""
        tables = torch.zeros((1, 1), dtype=torch.int32)
        self._eager(Batch.of((Span(0, 1, 0, 0),), [0], [0], tables))
        attended = len(self._attention.layers)
        if self._graphs is not None:
            self._graphs.rehearse()
        return attended

    def _eager(self, batch: Batch) -> torch.Tensor:
        self._attention.begin(batch)
        if self._rope is not None:
            self._rope.begin(batch)
        if self._threads is None:
            places = self._attention.places()
            return self._logits(places.tokens, places.positions, places.wanted)
        tokens, positions, wanted = batch.tokens, batch.positions, batch.wanted
        return self._logits(tokens.long(), positions.long(), wanted.long())

    def _decode(self, inputs: DecodeInputs) -> torch.Tensor:
        tokens = self._attention.cache.block_tokens
        if self._rope is not None:
            self._rope.begin(None)
        self._attention.begin_decode(DecodePlaces(inputs.positions, inputs.tables, tokens))
        return self._logits(inputs.tokens, inputs.positions, 0)

    def _logits(
        self, tokens: torch.Tensor, positions: torch.Tensor, wanted: torch.Tensor | int
    ) -> torch.Tensor:
        """Run the modules; of the logits ``wanted`` are computed, 0 is all."""
        output = self._module(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=wanted,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def sleep(self) -> None:
        """See ``Runner``. On a CPU the weights are where they belong."""
        if self._graphs is not None:
            self._graphs.drop()
        if self._device.type != "cpu":
            self._parked = ParkedTensors(tensors_of(self._module), self._device)

    def wake(self) -> None:
        """See ``Runner``."""
        if self._parked is not None:
            self._parked.restore()
            self._parked = None

    def close(self) -> None:
        """See ``Runner``."""
        if self._graphs is not None:
            self._graphs.drop()
        if self._threads is not None:
            self._threads.close()
