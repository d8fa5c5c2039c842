"""CUDA graphs, of which all share one pool of memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, final

import torch

from neuron_runtime.torch_backend.free_memory import free_bytes
from neuron_runtime.torch_backend.graphs.recorder import NoRoom, Recording

LEAST_FREE_BYTES: Final = 256 << 20
"""With less of a GPU's memory than this nothing more is recorded: it is needed for prompts."""


@final
class CudaRecorder:
    """Implements ``Recorder``. Only a GPU can show that it does."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda: Any = torch.cuda
        self._stream = cuda.Stream(device)
        self._pool: Any = None

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """See ``Recorder``: on the stream that records, so that libraries have set up theirs."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = compute()
        current.wait_stream(self._stream)
        result.record_stream(current)
        return result

    def record(self, compute: Callable[[], object]) -> Recording:
        """See ``Recorder``. Waits for the device, and lets go of what its allocator holds."""
        free = free_bytes(self._device)
        if free < LEAST_FREE_BYTES:
            raise NoRoom(f"{free >> 20} MB are free on {self._device}")
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        current = torch.cuda.current_stream(self._device)
        try:
            # Threads of NCCL ask for their events meanwhile, which must not spoil the recording.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                compute()
        except BaseException:
            self._end_failed(current)
            raise
        return graph

    def _end_failed(self, current: torch.cuda.Stream) -> None:
        """Undo what torch leaves behind where a computation cannot be recorded.

        Its stream stays the current one, and its allocator still puts memory aside for the graph
        and would refuse to let go of any; the pool counts a graph that will never let go of it. If
        the recording has ended well, there is nothing to do.
        """
        torch.cuda.set_stream(current)
        device = self._device.index or 0
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(device, self._pool)
            torch._C._cuda_releasePool(device, self._pool)

    def clear(self) -> None:
        """See ``Recorder``."""
        self._pool = None
