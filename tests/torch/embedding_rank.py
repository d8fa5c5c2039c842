"""One rank of a group that embeds, in a process of its own: job on stdin, rows on stdout."""

from __future__ import annotations

import base64
import subprocess
import sys

import msgspec

from neuron_runtime.backends.base import BackendError
from transports.schemas.group import EmbedStep, LoadShard


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


def run_group(jobs: list[EmbeddingJob], timeout_s: float = 90.0) -> list[EmbeddingReport]:
    """Run the ranks side by side and return their reports."""
    command = (sys.executable, "-m", "tests.torch.embedding_rank")
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in jobs
    ]
    try:
        for process, job in zip(processes, jobs, strict=True):
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(job))
            process.stdin.close()
            process.stdin = None
        outputs = [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [msgspec.json.decode(output, type=EmbeddingReport) for output in outputs]


def main() -> None:
    """Do the job."""
    from neuron_runtime.torch_backend.embedding_backend import EmbeddingBackend

    job = msgspec.json.decode(sys.stdin.buffer.read(), type=EmbeddingJob)
    backend = EmbeddingBackend(on_collective=lambda: None)
    try:
        loaded = backend.load(job.shard)
        done, rows = backend.embed(job.step)
        report = EmbeddingReport(
            base64.b64encode(rows).decode(), done.dimensions, loaded.weight_bytes
        )
    except BackendError as error:
        report = EmbeddingReport(error=error.message)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
