"""Our stack against other servers on the same model and machine: the table of the project's bars.

    python -m tests.benchmarks.bench_serve \
        --llama-server DIR/llama-server --transformers VENV/bin/python [--json FILE]

It starts everything itself, on free ports: our neuron and gateway with the catalogue's model
(``--quant`` replaces its quantisation), and, where a path is given,

    LD_LIBRARY_PATH=DIR DIR/llama-server -m MODEL.gguf -t CORES -np 16 -c 16384
    HF_HUB_OFFLINE=1 VENV/bin/transformers serve MODEL_DIR --continuous-batching --device cpu \
        --dtype bfloat16 --cb-max-memory-percent 0.1

with the same GGUF, or the directory that our converter made of it. ``transformers serve`` needs the
package with its ``serving`` extra and a torch. ``--peer NAME=URL=MODEL`` adds a running server.

Each workload is measured in rounds that alternate between the servers, with the same prompts for
all in one round and new ones in the next. Servers that are not asked are frozen (SIGSTOP), except
ours, whose idle use is printed. A measurement that takes longer than ``--limit`` is cut: tokens
per second are then those until there, a first token that did not come counts as infinite. Ratios
are of medians; one against a server that was over the limit is not known. A figure that was cut
has a star. The exit code is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cortex_actors.cli.bench_serve import warm_up
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_table
from tests.benchmarks.peers import CortexStack, LlamaServer, Peer, RunningServer, TransformersServe
from tests.benchmarks.serving_verdicts import BARS, Bar, Measurement, median, was_cut
from tests.benchmarks.serving_workloads import WORKLOADS, MeasureError, Question, Workload

CATALOGUE = Path(__file__).parents[2] / "conf" / "models.yaml"
IDLE_S = 3.0
IDLE_SHARE, SETTLE_S, SETTLE_TURNS = 0.2, 0.25, 120

Samples = dict[tuple[str, str], list[Measurement]]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; 1 if a bar is missed."""
    args = _parser().parse_args(argv)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    chosen = [workload for workload in WORKLOADS if workload.key in args.workloads]
    samples: Samples = {}
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-serve-")))
        peers = _start(args, directory, console, running)
        idle = _idle_shares(peers)
        for workload in chosen:
            for number in range(args.rounds):
                _round(args, peers, workload, args.seed + 100 * number, samples, console)
    console = Console(highlight=False)
    console.print(_machine(args), "idle: " + ", ".join(f"{n} {v:.1%}" for n, v in idle.items()))
    console.print(_figures(peers, chosen, samples))
    console.print(_bars(samples))
    if args.json:
        args.json.write_text(json.dumps(_report(args, idle, samples), indent=2) + "\n")
    return int(any(bar.passes(samples) is False for bar in BARS))


def _start(
    args: argparse.Namespace, directory: Path, console: Console, running: ExitStack
) -> list[Peer]:
    """Start one after the other; each is frozen when the next one starts."""
    cortex = CortexStack(directory, args.cache_dir, args.models, args.quant)
    peers: list[Peer] = []

    def start(peer: Peer) -> None:
        console.print(f"starting {peer.name}")
        running.callback(peer.stop)
        peer.start()
        with peer.turn() as target:
            warm_up(target, args.seed)
        peers.append(peer)

    start(cortex)
    if args.llama_server:
        start(LlamaServer(args.llama_server, cortex.files.path, directory))
    else:
        console.print("no llama-server: skipped (--llama-server PATH)")
    if args.transformers:
        start(TransformersServe(args.transformers, cortex.model_directory(), directory))
    else:
        console.print("no transformers serve: skipped (--transformers PYTHON)")
    for name, url, model in args.peer:
        start(RunningServer(name, url, model))
    return peers


def _idle_shares(peers: Sequence[Peer]) -> dict[str, float]:
    """What each takes of a core when nobody asks; the frozen ones are thawed for it."""
    shares = {}
    for peer in peers:
        with peer.turn():
            before = peer.processor_s()
            threading.Event().wait(IDLE_S)
            shares[peer.name] = (peer.processor_s() - before) / IDLE_S
    return shares


def _round(
    args: argparse.Namespace,
    peers: Sequence[Peer],
    workload: Workload,
    seed: int,
    samples: Samples,
    console: Console,
) -> None:
    for peer in peers:
        with peer.turn() as target:
            try:
                warm_up(target, seed)
                found = workload.measure(Question(peer, seed, args.limit))
            except (MeasureError, GatewayError) as error:
                console.print(f"  {workload.key} {peer.name}: {error}", markup=False)
                found = Measurement(math.nan)
            _settle(peer)
        samples.setdefault((workload.key, peer.name), []).append(found)
        console.print(f"  {workload.key} {peer.name}: {_shown([found])} {workload.unit}")


def _settle(peer: Peer) -> None:
    """Wait until it has noticed that nobody listens any more; what was cut may still run."""
    for _ in range(SETTLE_TURNS):
        before = peer.processor_s()
        threading.Event().wait(SETTLE_S)
        if peer.processor_s() - before < IDLE_SHARE * SETTLE_S:
            return


def _figures(peers: Sequence[Peer], chosen: Sequence[Workload], samples: Samples) -> Table:
    table = make_table("", "WORKLOAD", *(peer.name.upper() for peer in peers), "")
    for workload in chosen:
        values = (_shown(samples[workload.key, peer.name]) for peer in peers)
        table.add_row(workload.key, workload.title, *values, workload.unit)
    return table


def _bars(samples: Samples) -> Table:
    table = make_table("", "BAR", "MEASURED", "")
    for bar in BARS:
        table.add_row(bar.workload, str(bar), _number(bar.ratio(samples)), _verdict(bar, samples))
    return table


def _verdict(bar: Bar, samples: Samples) -> str:
    verdict = {True: "pass", False: "MISS", None: "not measured"}[bar.passes(samples)]
    return f"{verdict} (cut at the limit)" if bar.was_cut(samples) else verdict


def _report(args: argparse.Namespace, idle: dict[str, float], samples: Samples) -> dict[str, Any]:
    return {
        "machine": _machine(args),
        "seed": args.seed,
        "limit_s": args.limit,
        "idle_share": idle,
        "workloads": {
            workload.key: {
                "title": workload.title,
                "unit": workload.unit,
                "samples": {
                    name: [{"value": _finite(s.value), "cut": s.cut} for s in found]
                    for (key, name), found in samples.items()
                    if key == workload.key
                },
            }
            for workload in WORKLOADS
        },
        "bars": [
            {
                "workload": bar.workload,
                "bar": str(bar),
                "measured": _finite(bar.ratio(samples)),
                "passes": bar.passes(samples),
                "cut": bar.was_cut(samples),
            }
            for bar in BARS
        ],
    }


def _machine(args: argparse.Namespace) -> str:
    return (
        f"{_processor()}, {os.cpu_count()} cores, medians of {args.rounds},"
        f" ours quant={args.quant or 'as in the catalogue'}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _shown(samples: Sequence[Measurement]) -> str:
    return _number(median(samples)) + ("*" if was_cut(samples) else "")


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "> limit" if math.isinf(value) else f"{value:.3g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _running_server(text: str) -> tuple[str, str, str]:
    name, url, model = text.split("=", 2)
    return name, url, model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Our stack against other servers.")
    parser.add_argument("--llama-server", type=Path, metavar="PATH")
    parser.add_argument("--transformers", type=Path, metavar="PYTHON")
    parser.add_argument(
        "--peer", type=_running_server, action="append", default=[], metavar="NAME=URL=MODEL"
    )
    parser.add_argument("--models", type=Path, default=CATALOGUE, help="default: conf/models.yaml")
    parser.add_argument("--quant", default="", help="instead of the catalogue's")
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/cortex").expanduser())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds per measurement")
    parser.add_argument("--workloads", default="abcdefg", help="some of abcdefg")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
