"""How much of a file a process has touched, by the kernel's own account."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from neuron_runtime.torch_backend.parallel_plan import Cut
from neuron_runtime.torch_backend.shard_reader import ShardReader

_FIELD = re.compile(r"(Rss|Private_Clean|Private_Dirty):\s+(\d+) kB")


@dataclass(frozen=True, slots=True)
class Touched:
    """Bytes of a file's pages in this process: all, and those that no other process has."""

    resident: int
    private: int

    @classmethod
    def of(cls, file: Path) -> Touched:
        """Look at this process now."""
        sums = {"Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
        ours = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                ours = line.endswith(str(file))
            elif ours and (field := _FIELD.match(line)):
                sums[field[1]] += int(field[2]) << 10
        return cls(sums["Rss"], sums["Private_Clean"] + sums["Private_Dirty"])


def main(directory: Path) -> None:
    """Read the whole of ``rows`` and touch it; then say so, and hold it until told to leave."""
    with ShardReader(directory) as reader:
        whole = reader.read("rows")
        print(float(whole.sum()), flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(Touched.of(directory / "model.safetensors"))), flush=True)
        sys.stdin.readline()


def half(rank: int, rows: int, dim: int = 0) -> Cut:
    """The part of one of two ranks."""
    return Cut(dim, (range(rank * rows // 2, (rank + 1) * rows // 2),))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
