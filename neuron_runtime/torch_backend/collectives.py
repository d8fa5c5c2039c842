"""What the ranks of one group do together.

GPUs use ``torch.distributed`` with NCCL. CPU ranks use shared memory (``cpu_mesh``), since a group
never leaves its host and gloo takes milliseconds where that takes tens of microseconds (decision
0006). Both meet at the rendezvous that ``LoadShard`` names, and both pass one conformance suite.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Protocol, final

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from neuron_runtime.backends.base import BackendError
from neuron_runtime.last_act import at_end
from neuron_runtime.torch_backend.cpu_mesh import CpuMesh, MeshError
from transports.failures import FailureCode
from transports.schemas.group import LoadShard

JOIN_S = 120.0
COLLECTIVE_S = 600.0
"""A fuse only: the engine judges a step by its own, much shorter deadline, and kills."""


class Collectives(Protocol):
    """One rank's membership. Main thread only; all ranks make the same calls in order."""

    rank: int
    world_size: int
    recordable: bool
    """Whether a CUDA graph may hold what the ranks do together."""

    def add_up(self, part: torch.Tensor) -> torch.Tensor:
        """Return the sum of the ranks' parts, computed in place; the same bits on every rank."""
        ...

    def gather(self, part: torch.Tensor) -> torch.Tensor | None:
        """Like ``gather_everywhere``, but on rank 0 only; None on the others."""
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
        # One rank may be unable to record what another does (no memory, say). NCCL requires that
        # buffers which a graph holds are registered by all ranks or by none.
        os.environ.setdefault("NCCL_GRAPH_REGISTER", "0")
        return ProcessGroup.join(store, shard.rank, shard.world_size, "nccl", device.index)
    except (RuntimeError, ValueError, OSError, MeshError) as error:
        raise BackendError(
            FailureCode.LOAD_FAILED,
            f"rank {shard.rank} could not meet the others at {shard.rendezvous}: {error}",
        ) from error


def _store(shard: LoadShard) -> Store:
    scheme, _, place = shard.rendezvous.partition("://")
    host, _, port = place.rpartition(":")
    store: Store
    if scheme == "file":
        store = dist.FileStore(place, shard.world_size)  # type: ignore[attr-defined]
    elif scheme == "tcp" and port.isdigit():
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host, int(port), shard.world_size, shard.rank == 0, timedelta(seconds=JOIN_S)
        )
    else:
        raise ValueError(f"{shard.rendezvous!r} is neither file:///path nor tcp://host:port")
    store.set_timeout(timedelta(seconds=JOIN_S))
    return store


@final
class Alone:
    """The only rank of its group."""

    rank = 0
    world_size = 1
    recordable = True

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

    def __init__(self, rank: int, world_size: int, *, recordable: bool) -> None:
        self.rank, self.world_size = rank, world_size
        self.recordable = recordable

    @classmethod
    def join(
        cls, store: Store, rank: int, world_size: int, backend: str, device: int | None = None
    ) -> ProcessGroup:
        """Initialise the default process group, of which a process has one; waits for all ranks.

        ``device`` is the number of this rank's GPU; torch would guess it.

        Raises:
            RuntimeError: They did not all come.
        """
        store.set(f"rank/{rank}", "")
        store.wait([f"rank/{number}" for number in range(world_size)])
        dist.init_process_group(
            backend,
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=COLLECTIVE_S),
        )
        group = cls(rank, world_size, recordable=backend == "nccl")
        if backend == "nccl":
            at_end(group.leave)
        # NCCL connects ranks at their first collective. That must not be a step's, which has a
        # deadline; and what it takes of a GPU must be gone before keys and values take the rest.
        dist.barrier(device_ids=None if device is None else [device])
        return group

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
        """Abort: a plain shutdown waits for kernels whose other ranks may be gone.

        Any thread: whoever waits in a collective of NCCL is set free by it.
        """
        if dist.is_initialized():
            if dist.get_backend() == "nccl":
                dist.distributed_c10d._abort_process_group()
            else:
                dist.destroy_process_group()
