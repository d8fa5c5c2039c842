"""What the ranks of one group do together.

GPUs use ``torch.distributed`` with NCCL. CPU ranks use shared memory (``cpu_mesh``), since a group
never leaves its host and gloo takes milliseconds where that takes tens of microseconds (decision
0004). Both meet at the rendezvous that ``LoadShard`` names, and both pass one conformance suite.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol, final

import torch
import torch.distributed as dist

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.cpu_mesh import CpuMesh, MeshError
from transports.failures import FailureCode
from transports.schemas.group import LoadShard

JOIN_S = 120.0
COLLECTIVE_S = 600.0
"""A fuse only: the engine judges a step by its own, much shorter deadline, and kills."""


class Collectives(Protocol):
    """One rank's membership. All calls on the worker's main thread; every rank makes the same ones."""

    rank: int
    world_size: int

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """Return the sum of the ranks' parts, computed in place; the same bits on every rank."""
        ...

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """Return the ranks' equally shaped parts side by side (last dimension) on rank 0, else None."""
        ...

    def gather_everywhere(self, part: torch.Tensor) -> torch.Tensor:
        """Return the ranks' equally shaped parts side by side (last dimension) on every rank."""
        ...

    def leave(self) -> None:
        """Leave without waiting for anybody; idempotent."""
        ...


def join(shard: LoadShard, device: torch.device) -> Collectives:
    """Meet the other ranks at ``shard.rendezvous`` (``file://`` or ``tcp://``); waits for them.

    Raises:
        BackendError: They did not all come.
    """
    if shard.world_size == 1:
        return Alone()
    try:
        store = _store(shard)
        if device.type == "cpu":
            return CpuMesh.join(store, shard.rank, shard.world_size, JOIN_S, COLLECTIVE_S)
        return ProcessGroup.join(store, shard.rank, shard.world_size, "nccl")
    except (RuntimeError, ValueError, OSError, MeshError) as error:
        raise BackendError(
            FailureCode.LOAD_FAILED,
            f"rank {shard.rank} could not meet the others at {shard.rendezvous}: {error}",
        ) from error


def _store(shard: LoadShard) -> dist.Store:
    scheme, _, place = shard.rendezvous.partition("://")
    timeout = timedelta(seconds=JOIN_S)
    if scheme == "file":
        store: dist.Store = dist.FileStore(place, shard.world_size)
        store.set_timeout(timeout)
        return store
    host, _, port = place.rpartition(":")
    if scheme != "tcp" or not port.isdigit():
        raise ValueError(f"{shard.rendezvous!r} is neither file:///path nor tcp://host:port")
    return dist.TCPStore(host, int(port), shard.world_size, shard.rank == 0, timeout)


@final
class Alone:
    """The only rank of its group."""

    rank = 0
    world_size = 1

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """Return ``part``."""
        return part

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """Return ``part``."""
        return part

    def gather_everywhere(self, part: torch.Tensor) -> torch.Tensor:
        """Return ``part``."""
        return part

    def leave(self) -> None:
        """Do nothing."""


@final
class ProcessGroup:
    """The default process group of ``torch.distributed``."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    @classmethod
    def join(cls, store: dist.Store, rank: int, world_size: int, backend: str) -> ProcessGroup:
        """Initialise the default process group, which a process has only once; waits for all ranks."""
        dist.init_process_group(
            backend,
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=COLLECTIVE_S),
        )
        return cls(rank, world_size)

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """See ``Collectives``."""
        dist.all_reduce(part)
        return part

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """See ``Collectives``."""
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.world_size)] if self.rank == 0 else None
        dist.gather(part, parts, dst=0)
        return None if parts is None else torch.cat(parts, dim=-1)

    def gather_everywhere(self, part: torch.Tensor) -> torch.Tensor:
        """See ``Collectives``."""
        parts = [torch.empty_like(part) for _ in range(self.world_size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=-1)

    def leave(self) -> None:
        """Abort: a plain shutdown waits for kernels whose other ranks may be gone."""
        if dist.is_initialized():
            if dist.get_backend() == "nccl":
                dist.distributed_c10d._abort_process_group()  # noqa: SLF001 - has no public name
            else:
                dist.destroy_process_group()
