"""One rank in a process of its own: runs the steps that it reads from stdin, reports on stdout."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from neuron_runtime.backends.base import BackendError
from transports.schemas.group import LoadShard, SampleParams, SequenceStep, Step

STOP_WAIT_S = 5.0


class RankScript(msgspec.Struct):
    """What a rank is to do. ``logits_file`` receives one row per sampled token (rank 0)."""

    shard: LoadShard
    steps: tuple[Step, ...]
    logits_file: str = ""


class RankReport(msgspec.Struct):
    """What came of it; ``code`` is empty unless the load or a step was refused."""

    tokens: tuple[int, ...] = ()
    step_s: tuple[float, ...] = ()
    weight_bytes: int = 0
    code: str = ""
    message: str = ""


def teacher_steps(prompt: Sequence[int], answer: Sequence[int]) -> tuple[Step, ...]:
    """Feed ``prompt``, then ``answer`` token by token; sample greedily after each step."""
    fed: list[tuple[int, ...]] = [tuple(prompt), *((token,) for token in answer[:-1])]
    steps, position = [], 0
    for number, tokens in enumerate(fed):
        part = SequenceStep(1, position, tokens, SampleParams(index=number))
        steps.append(Step(number, (part,)))
        position += len(tokens)
    return tuple(steps)


def run_group(
    model_dir: Path,
    world_size: int,
    steps: tuple[Step, ...],
    rendezvous: Path,
    *,
    dtype: str = "float32",
    logits_file: str = "",
    timeout_s: float = 60.0,
) -> tuple[RankReport, ...]:
    """Run every rank of a group on the CPU; return their reports by rank."""
    processes = []
    for rank in range(world_size):
        shard = LoadShard(
            model_dir=str(model_dir),
            rank=rank,
            world_size=world_size,
            device=f"cpu:{rank}",
            dtype=dtype,
            rendezvous=f"file://{rendezvous}",
            threads=1,
        )
        script = RankScript(shard, steps, logits_file if rank == 0 else "")
        process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(script))
        process.stdin.close()
        process.stdin = None
        processes.append(process)
    try:
        outputs = [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(STOP_WAIT_S)
    return tuple(msgspec.json.decode(output, type=RankReport) for output in outputs)


def main() -> None:
    """Run one rank."""
    from safetensors.torch import save_file
    from torch import Tensor, stack

    from neuron_runtime.torch_backend import backend as module

    script = msgspec.json.decode(sys.stdin.buffer.read(), type=RankScript)
    rows: list[Tensor] = []
    sample = module.sample_token

    def recording(logits: Tensor, params: SampleParams) -> int:
        rows.append(logits.detach().float().cpu().clone())
        return sample(logits, params)

    if script.logits_file:
        module.sample_token = recording
    backend = module.TorchBackend(on_collective=lambda: None)
    try:
        loaded = backend.load(script.shard)
        tokens: list[int] = []
        step_s: list[float] = []
        for step in script.steps:
            started = time.perf_counter()
            tokens += [sampled.token for sampled in backend.step(step).tokens]
            step_s.append(time.perf_counter() - started)
        report = RankReport(tuple(tokens), tuple(step_s), loaded.weight_bytes)
    except BackendError as error:
        report = RankReport(code=error.code, message=error.message)
    finally:
        backend.close()
    if script.logits_file:
        save_file({"logits": stack(rows)}, script.logits_file)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
