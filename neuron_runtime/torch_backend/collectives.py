"""What the ranks of one group do together: NCCL between GPUs, gloo between CPUs."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from neuron_runtime.backends.base import BackendError
from transports.failures import FailureCode
from transports.schemas.group import LoadShard

JOIN_S = 120.0
COLLECTIVE_S = 600.0
"""A fuse only: the engine judges a step by its own, much shorter deadline, and kills."""


class Collectives:
    """One rank's membership. All calls on the worker's main thread; every rank makes the same ones."""

    def __init__(self, rank: int, world_size: int, device: torch.device) -> None:
        self.rank, self.world_size, self._device = rank, world_size, device

    @classmethod
    def join(cls, shard: LoadShard, device: torch.device) -> Collectives:
        """Meet the other ranks at ``shard.rendezvous`` (``file://`` or ``tcp://``); waits for them.

        Raises:
            BackendError: They did not all come.
        """
        if shard.world_size > 1:
            # A group never leaves its host, and a host's name need not resolve.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            try:
                dist.init_process_group(
                    "nccl" if device.type == "cuda" else "gloo",
                    init_method=shard.rendezvous,
                    rank=shard.rank,
                    world_size=shard.world_size,
                    timeout=timedelta(seconds=JOIN_S),
                )
                dist.distributed_c10d._set_pg_timeout(timedelta(seconds=COLLECTIVE_S))  # noqa: SLF001
            except (RuntimeError, ValueError) as error:
                raise BackendError(
                    FailureCode.LOAD_FAILED,
                    f"rank {shard.rank} could not meet the others at {shard.rendezvous}: {error}",
                ) from error
        return cls(shard.rank, shard.world_size, device)

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """Return the sum of the ranks' parts, computed in place."""
        dist.all_reduce(part)
        return part

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """Return the ranks' equally shaped parts side by side (last dimension) on rank 0, else None."""
        part = part.contiguous()
        if self.rank != 0:
            dist.gather(part, None, dst=0)
            return None
        parts = [torch.empty_like(part) for _ in range(self.world_size)]
        dist.gather(part, parts, dst=0)
        return torch.cat(parts, dim=-1)

    def gather_everywhere(self, part: torch.Tensor) -> torch.Tensor:
        """Return the ranks' equally shaped parts side by side (last dimension) on every rank."""
        parts = [torch.empty_like(part) for _ in range(self.world_size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=-1)

    def leave(self) -> None:
        """Leave without waiting for anybody; idempotent. NCCL is aborted, or its kernels never end."""
        if not dist.is_initialized():
            return
        if self._device.type == "cuda":
            dist.distributed_c10d._abort_process_group()  # noqa: SLF001 - has no public name
        else:
            dist.destroy_process_group()
