"""What every way in which ranks work together has to do, and a rank of gloo that does it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
import torch
import torch.distributed as dist

from neuron_runtime.torch_backend.collectives import Collectives, ProcessGroup
from neuron_runtime.torch_backend.cpu_mesh import SLOT_BYTES
from tests.torch.copies import read_task

MODULE = "tests.torch.gloo_rank"
RANKS = 2


class GlooTask(msgspec.Struct):
    """Which of the two ranks it is, and the file by which they meet."""

    meeting: str
    rank: int


def exercise(group: Collectives) -> None:
    """Check one rank's view of every operation, with sizes around a slot's."""
    rank, size = group.rank, group.world_size
    for length in (1, 576, SLOT_BYTES // 4, SLOT_BYTES // 4 + 3):
        for dtype in (torch.float32, torch.bfloat16):
            part = torch.full((1, 1, length), float(rank + 1)).to(dtype)
            total = group.add_up(part)
            assert total.dtype == dtype
            assert total.shape == (1, 1, length)
            assert torch.equal(total, torch.full_like(total, size * (size + 1) / 2))
    row = torch.arange(4.0).view(2, 2) + 10 * rank
    expected = torch.cat([torch.arange(4.0).view(2, 2) + 10 * n for n in range(size)], dim=-1)
    assert torch.equal(group.gather_everywhere(row), expected)
    gathered = group.gather(row.t().contiguous().t())
    assert (gathered is None) == (rank != 0)
    if gathered is not None:
        assert torch.equal(gathered, expected)


def main(argv: Sequence[str] | None = None) -> int:
    """Be one rank; report that all was right."""
    task, report = read_task(argv, GlooTask)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(task.meeting, RANKS)  # type: ignore[attr-defined]
    group = ProcessGroup.join(store, task.rank, RANKS, "gloo")
    exercise(group)
    group.leave()
    report.write_bytes(b"right")
    return 0


if __name__ == "__main__":
    main()
