"""How much memory a device has to spare."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return how many bytes can still be allocated on ``device``.

    On a CPU that is what the kernel calls available, within the limit of our control group. On a
    GPU torch's allocator first lets go of what it holds for nobody, which CUDA would count as used.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_available(), _group_room())


def _available() -> int:
    for line in _MEMINFO.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def _group_room() -> int:
    try:
        # Without a limit it says "max", which is no number either.
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 1 << 62
    return max(0, limit - used)
