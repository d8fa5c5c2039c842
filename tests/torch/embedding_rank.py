"""One rank of a group that embeds, in a process of its own."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import msgspec

from neuron_runtime.backends.base import BackendError
from tests.torch.copies import Copies, read_task
from transports.schemas.group import EmbedStep, LoadShard

MODULE = "tests.torch.embedding_rank"


class EmbeddingJob(msgspec.Struct):
    """What one rank is to do."""

    shard: LoadShard
    step: EmbedStep


class EmbeddingReport(msgspec.Struct):
    """What came of it; ``error`` is empty unless the load or the step was refused."""

    rows: str = ""
    dimensions: int = 0
    weight_bytes: int = 0
    error: str = ""

    @property
    def row_bytes(self) -> bytes:
        """The rows as the rank answered them."""
        return base64.b64decode(self.rows)


def run_group(
    copies: Copies, jobs: Sequence[EmbeddingJob], place: Path, timeout_s: float = 90.0
) -> list[EmbeddingReport]:
    """Run the ranks side by side and return their reports."""
    outputs = copies.work(MODULE, jobs, place, timeout_s)
    return [msgspec.json.decode(output, type=EmbeddingReport) for output in outputs]


def main(argv: Sequence[str] | None = None) -> int:
    """Do the job."""
    from neuron_runtime.torch_backend.embedding_backend import EmbeddingBackend

    job, report_file = read_task(argv, EmbeddingJob)
    backend = EmbeddingBackend(on_collective=lambda: None)
    try:
        loaded = backend.load(job.shard)
        done, rows = backend.embed(job.step)
        report = EmbeddingReport(
            base64.b64encode(rows).decode(), done.dimensions, loaded.weight_bytes
        )
    except BackendError as error:
        report = EmbeddingReport(error=error.message)
    report_file.write_bytes(msgspec.json.encode(report))
    return 0


if __name__ == "__main__":
    main()
