"""What prefix affinity is worth: tokens per second with it, and by least load alone.

``python -m tests.benchmarks.bench_prefix`` starts four neurons with SmolLM2 on this machine, each
with room for the keys and values of a few long prompts, and asks questions that share one of many
long beginnings, each of which has been asked about once before. Both gateways ask the same neurons
in turn; the prompts of each turn are new. Gate: at least 1.8 times the tokens per second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from cortex_actors.cli.bench.load_generator import LoadGenerator
from cortex_actors.cli.bench.prompts import Prompts
from cortex_actors.cli.bench.serve_figures import ServeFigures
from cortex_actors.cli.bench.target import Target
from tests.benchmarks import least_load_gateway
from tests.e2e.wide_fleet import WideFleet, entry

MODEL: Final = "first"
NEURONS: Final = dict.fromkeys(("n1", "n2", "n3", "n4"), 800)
BEGINNINGS, QUESTIONS_EACH, STREAMS = 8, 6, 4
PREFIX_TOKENS, PROMPT_TOKENS, NEW_TOKENS = 700, 720, 16
LIMIT_S, BAR = 600.0, 1.8
GATEWAYS: Final = {
    "least load": least_load_gateway.__name__,
    "prefix affinity": "cortex_actors.cli.cortexd",
}


def questions(seed: int) -> list[str]:
    """One about each beginning, then all others in one random order, which the seed decides."""
    groups = [Prompts(seed + each, PROMPT_TOKENS, PREFIX_TOKENS) for each in range(BEGINNINGS)]
    later = [group.prompt(number) for group in groups for number in range(1, QUESTIONS_EACH)]
    random.Random(seed).shuffle(later)
    return [*(group.prompt(0) for group in groups), *later]


def measure(url: str, seed: int) -> ServeFigures:
    load = LoadGenerator(Target.parse(url, MODEL), NEW_TOKENS)
    asked = questions(seed)

    def ask(prompts: list[str]) -> ServeFigures:
        return ServeFigures.of(asyncio.run(load.closed_loop(prompts, STREAMS, LIMIT_S)))

    first, later = ask(asked[:BEGINNINGS]), ask(asked[BEGINNINGS:])
    for figures in (first, later):
        if figures.errors or figures.cut:
            msg = f"not all was answered: {figures.cut} cut, {figures.errors}"
            raise RuntimeError(msg)
    return later


def compare(fleet: WideFleet, rounds: int) -> float:
    """Return how many times the tokens per second of least load prefix affinity has."""
    rates: dict[str, list[float]] = {name: [] for name in GATEWAYS}
    for turn in range(rounds):
        for number, (name, module) in enumerate(GATEWAYS.items()):
            fleet.change_gateway(module)
            found = measure(fleet.url, 1_000 * (2 * turn + number))
            rates[name].append(found.tokens_per_s)
            print(
                f"{name:16} {found.tokens_per_s:6.1f} tokens/s;"
                f" {found.cached_tokens / found.prompt_tokens:4.0%} of the prompts cached",
                flush=True,
            )
    return statistics.median(rates["prefix affinity"]) / statistics.median(rates["least load"])


def run(cache_dir: Path, rounds: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        models = [entry(MODEL, "int4", 500)]
        fleet = WideFleet(Path(directory), cache_dir, NEURONS, models, (MODEL,))
        try:
            fleet.start()
            ratio = compare(fleet, rounds)
        finally:
            fleet.stop()
    verdict = "pass" if ratio >= BAR else "MISS"
    print(f"{verdict}  prefix affinity / least load {ratio:.2f} (bar {BAR})")
    return ratio >= BAR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="of converted models")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-prefix-") as directory:
        return 0 if run(args.cache_dir or Path(directory), args.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
