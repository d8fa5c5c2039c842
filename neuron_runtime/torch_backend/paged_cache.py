"""Keys and values of all sequences, in blocks that a sequence's table names."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.free_memory import free_bytes
from transports.failures import FailureCode

_CPU_SHARE = 0.4
_CPU_LIMIT = 4 << 30
_GPU_SHARE = 0.85
_GRAPH_BYTES = 1 << 30
"""What decode graphs may take of a GPU: some 10 MB each, and once what the largest computes with.
They are recorded when there is a cache already."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one layer keeps of a token: ``kv_heads`` keys and values of ``dim`` numbers."""

    kv_heads: int
    dim: int


@final
class PagedCache:
    """Blocks of ``block_tokens`` tokens, layer by layer.

    keys[layer]: [blocks, kv heads, dim, block tokens]: a dimension's tokens are neighbours, as the
    product with a query wants them. values[layer]: [blocks, kv heads, block tokens, dim].

    ``spare`` more blocks follow the last one. No sequence is given these; what stands in a batch
    for no sequence writes there.
    """

    def __init__(
        self,
        shapes: Sequence[CacheShape],
        blocks: int,
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        spare: int = 0,
    ) -> None:
        self.shapes = tuple(shapes)
        self.blocks, self.block_tokens, self.dtype = blocks, block_tokens, dtype
        self.spare = spare
        self._device = device
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.allocate()

    def allocate(self) -> None:
        """Have all blocks, empty. Raises torch.OutOfMemoryError or OSError: there is no room."""
        blocks, tokens = self.blocks + self.spare, self.block_tokens
        self.keys = [self._zeros((blocks, s.kv_heads, s.dim, tokens)) for s in self.shapes]
        self.values = [self._zeros((blocks, s.kv_heads, tokens, s.dim)) for s in self.shapes]

    def release(self) -> None:
        """Give all memory back; what points into it is void."""
        self.keys, self.values = [], []

    def store(
        self,
        layer: int,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: torch.Tensor,
        offsets: torch.Tensor,
    ) -> None:
        """Keep keys and values [kv heads, rows, dim] where ``blocks`` and ``offsets`` say."""
        self.keys[layer][blocks, :, :, offsets] = key.transpose(0, 1).to(self.dtype)
        self.values[layer][blocks, :, offsets] = value.transpose(0, 1).to(self.dtype)

    @property
    def held_bytes(self) -> int:
        """What all blocks take once they are used."""
        return sum(each.nbytes for each in (*self.keys, *self.values))

    @classmethod
    def sized(
        cls,
        shapes: Sequence[CacheShape],
        block_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        limit: int,
        ranks: int,
        spare: int = 0,
    ) -> PagedCache:
        """Make as many blocks as ``limit`` bytes hold, or as the free memory allows if it is 0.

        ``ranks`` of the group may share the CPU's memory. The ``spare`` blocks are among those that
        fit; decode graphs need one, so with it a part of a GPU's memory is left to them.

        Raises:
            BackendError: There is not enough memory for a single block.
        """
        token = sum(2 * shape.kv_heads * shape.dim for shape in shapes) * dtype.itemsize
        free = free_bytes(device)
        if limit <= 0 and device.type == "cpu":
            limit = min(int(free * _CPU_SHARE) // ranks, _CPU_LIMIT)
        elif limit <= 0:
            limit = int(max(0, free - _GRAPH_BYTES * spare) * _GPU_SHARE)
        blocks = limit // (token * block_tokens) - spare
        if blocks < 1:
            raise BackendError(
                FailureCode.LOAD_FAILED,
                f"{limit} bytes for keys and values hold no block of {block_tokens} tokens,"
                f" which takes {token * block_tokens}; {free} bytes are free on {device}",
            )
        return cls(shapes, blocks, block_tokens, dtype, device, spare)

    def _zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        return _zeros(shape, self.dtype, self._device)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # PERF: the kernel gives a page when it is first written; torch.zeros writes all of them, which
    # takes seconds for what most loads never use.
    size = math.prod(shape) * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(shape)
