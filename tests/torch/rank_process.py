"""Ranks in processes of their own: each does the jobs of a script and reports on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from neuron_runtime.backends.base import BackendError
from tests.torch.copies import Copies, read_task
from tests.torch.feeder import opening
from transports.schemas.group import LoadShard, SampleParams, SequenceStep, Step

MODULE = "tests.torch.rank_process"


class Job(msgspec.Struct):
    """A model to load and steps to run. ``logits_file`` gets a row per step, from rank 0.

    One that ``sleeps`` does so after the steps, wakes and runs them again.
    """

    model_dir: str
    steps: tuple[Step, ...]
    rendezvous: str
    dtype: str = "float32"
    logits_file: str = ""
    sleeps: bool = False

    def shard(self, rank: int, world_size: int) -> LoadShard:
        """Return what one rank is to load."""
        return LoadShard(
            model_dir=self.model_dir,
            rank=rank,
            world_size=world_size,
            device=f"cpu:{rank}",
            dtype=self.dtype,
            rendezvous=self.rendezvous,
            threads=1,
            kv_bytes=64 << 20,
        )


class Report(msgspec.Struct):
    """What came of a job; ``code`` is empty unless the load or a step was refused."""

    tokens: tuple[int, ...] = ()
    step_s: tuple[float, ...] = ()
    weight_bytes: int = 0
    code: str = ""
    message: str = ""


class RankScript(msgspec.Struct):
    """What one process is to do."""

    rank: int
    world_size: int
    jobs: tuple[Job, ...]


def teacher_steps(prompt: Sequence[int], answer: Sequence[int]) -> tuple[Step, ...]:
    """Feed ``prompt``, then ``answer`` token by token; sample greedily after each step."""
    fed: list[tuple[int, ...]] = [tuple(prompt), *((token,) for token in answer[:-1])]
    steps, position = [], 0
    for number, tokens in enumerate(fed):
        sample = SampleParams(index=number)
        part = SequenceStep(1, position, tokens, sample) if number else opening(1, tokens, sample)
        steps.append(Step(number, (part,)))
        position += len(tokens)
    return tuple(steps)


def run_group(
    copies: Copies, world_size: int, jobs: Sequence[Job], place: Path, *, timeout_s: float = 90.0
) -> list[tuple[Report, ...]]:
    """Run every rank of a group on the CPU; return, by job, the ranks' reports."""
    scripts = [RankScript(rank, world_size, tuple(jobs)) for rank in range(world_size)]
    outputs = copies.work(MODULE, scripts, place, timeout_s)
    by_rank = [msgspec.json.decode(output, type=tuple[Report, ...]) for output in outputs]
    return list(zip(*by_rank, strict=True))


def watch_logits(backend: Any, rows: list[Any]) -> None:
    """Append the logits of every later step's last row to ``rows``."""
    runner = backend._model.runner
    forward = runner.forward

    def watched(batch: Any) -> Any:
        logits = forward(batch)
        rows.append(logits[-1].float().clone())
        return logits

    runner.forward = watched


def _do(job: Job, rank: int, world_size: int) -> Report:
    from safetensors.torch import save_file
    from torch import stack

    from neuron_runtime.torch_backend.backend import TorchBackend

    rows: list[Any] = []
    tokens: list[int] = []
    step_s: list[float] = []
    backend = TorchBackend(on_collective=lambda: None)
    try:
        loaded = backend.load(job.shard(rank, world_size))
        watch_logits(backend, rows)
        for turn in range(1 + job.sleeps):
            if turn:
                backend.sleep()
                backend.wake()
            for step in job.steps:
                started = time.perf_counter()
                tokens += [sampled.token for sampled in backend.step(step).tokens]
                step_s.append(time.perf_counter() - started)
    except BackendError as error:
        return Report(code=error.code, message=error.message)
    finally:
        backend.close()
    if job.logits_file and rank == 0:
        save_file({"logits": stack(rows)}, job.logits_file)
    return Report(tuple(tokens), tuple(step_s), loaded.weight_bytes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one rank's jobs."""
    script, report = read_task(argv, RankScript)
    reports = [_do(job, script.rank, script.world_size) for job in script.jobs]
    report.write_bytes(msgspec.json.encode(reports))
    return 0


if __name__ == "__main__":
    main()
