"""The gateway's bars: ours against other gateways, in one run on one machine.

    python -m tests.benchmarks.bench_gateway --smg VENV/bin/smg --vllm-router VENV/bin/vllm-router \
        --litellm VENV/bin/litellm [--json FILE]

Ours is asked before the mock engine, over the real links; the others before the bare server that
says the same. Each is started alone, measured in ``--rounds`` turns and ended; medians count. The
exit code is 1 if a bar is missed; a bar whose peer is not given is not judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cortex_actors.cli.bench.gateway_figures import held_streams, latency, memory, throughput
from cortex_actors.cli.bench.mock_stack import HOST, MockStack
from cortex_actors.cli.tables import make_table
from tests.benchmarks.gateway_peers import PEERS

Figures = dict[str, float]
CONNECTIONS, WORKERS, THREADS = 32, 2, 1024
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bar:
    """``measured`` gives None where something was not measured."""

    text: str
    measured: Callable[[dict[str, Figures]], float | None]
    passes: Callable[[float], bool]


def ratio(figure: str, peer: str) -> Callable[[dict[str, Figures]], float | None]:
    """How many times the peer's figure ours is."""

    def measured(all_: dict[str, Figures]) -> float | None:
        ours, theirs = all_["cortex"].get(figure), all_.get(peer, {}).get(figure)
        return ours / theirs if ours and theirs else None

    return measured


def added_ms(all_: dict[str, Figures]) -> float:
    """What the gateway adds to one request."""
    return all_["cortex"]["alone ms"] - all_["bare"]["alone ms"]


BARS = (
    Bar("whole: >= 15 x litellm", ratio("whole/s", "litellm"), lambda x: x >= 15),
    Bar("whole: >= 0.2 x smg", ratio("whole/s", "smg"), lambda x: x >= 0.2),
    Bar("streamed tokens: >= 0.8 x smg", ratio("tokens/s", "smg"), lambda x: x >= 0.8),
    Bar("added latency, ms: <= 1.5", added_ms, lambda x: x <= 1.5),
    Bar("held: errors = 0", lambda a: a["cortex"].get("held errors"), lambda x: x == 0),
    Bar("held: MiB < 1536", lambda a: a["cortex"].get("held MiB"), lambda x: x < 1536),
    Bar("held: gap <= 1.1 x bare", ratio("held gap ms", "bare"), lambda x: x <= 1.1),
    Bar("memory: growth < 5 %", lambda a: a["cortex"].get("growth"), lambda x: x < 0.05),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 if a bar is missed."""
    args = _parser().parse_args(argv)
    console = Console(stderr=True, highlight=False)
    found: dict[str, Figures] = {}
    with MockStack(WORKERS, THREADS) as stack:
        upstream = (HOST, stack.bare_port)
        ours = (HOST, stack.gateway_port)
        found["bare"] = _common(upstream, args) | _held(upstream, args, lambda: 0)
        console.print(f"bare {found['bare']}")
        found["cortex"] = _common(ours, args) | _held(ours, args, stack.resident_bytes)
        found["cortex"] |= _growth(ours, args, stack.resident_bytes)
        console.print(f"cortex {found['cortex']}")
        with tempfile.TemporaryDirectory(prefix="bench-gateway-") as directory:
            for kind in PEERS:
                program = getattr(args, kind.name.replace("-", "_"))
                if program is None:
                    console.print(f"no {kind.name}: skipped")
                    continue
                peer = kind(program, f"http://{HOST}:{stack.bare_port}", Path(directory))
                with peer.running() as address:
                    found[kind.name] = _common(address, args)
                console.print(f"{kind.name} {found[kind.name]}")
    _show(found)
    verdicts = {bar.text: bar.measured(found) for bar in BARS}
    if args.json:
        args.json.write_text(json.dumps({"figures": found, "bars": verdicts}, indent=2) + "\n")
    return int(any(x is not None and not bar.passes(x) for bar, x in _judged(found)))


def _judged(found: dict[str, Figures]) -> list[tuple[Bar, float | None]]:
    return [(bar, bar.measured(found)) for bar in BARS]


def _common(address: tuple[str, int], args: argparse.Namespace) -> Figures:
    whole, tokens, alone, errors = [], [], [], 0
    for _ in range(args.rounds):
        plain = throughput(address, CONNECTIONS, args.seconds, streamed=False)
        streams = throughput(address, CONNECTIONS, args.seconds, streamed=True)
        single = latency(address, args.seconds)
        whole.append(plain.requests_per_s)
        tokens.append(streams.tokens_per_s)
        alone.append(single.p50_s * 1e3)
        errors += sum(sum(each.errors.values()) for each in (plain, streams, single))
    return {
        "whole/s": statistics.median(whole),
        "tokens/s": statistics.median(tokens),
        "alone ms": statistics.median(alone),
        "errors": errors,
    }


def _held(
    address: tuple[str, int], args: argparse.Namespace, resident: Callable[[], int]
) -> Figures:
    if not args.held:
        return {}
    held = held_streams(address, args.held, resident)
    return {
        "held gap ms": held.gap_p50_s * 1e3,
        "held MiB": held.resident / MIB,
        "held errors": args.held - held.completed,
    }


def _growth(
    address: tuple[str, int], args: argparse.Namespace, resident: Callable[[], int]
) -> Figures:
    if not args.requests:
        return {}
    found = memory(address, CONNECTIONS, args.requests, resident)
    return {
        "before MiB": found.before / MIB,
        "after MiB": found.after / MIB,
        "growth": found.after / found.before - 1,
    }


def _show(found: dict[str, Figures]) -> None:
    console = Console(highlight=False)
    table = make_table("", *(name.upper() for name in found))
    for figure in dict.fromkeys(figure for figures in found.values() for figure in figures):
        values = (figures.get(figure) for figures in found.values())
        table.add_row(figure, *("-" if value is None else f"{value:,.2f}" for value in values))
    console.print(table)
    bars = make_table("BAR", "MEASURED", "")
    for bar, value in _judged(found):
        if value is None:
            bars.add_row(bar.text, "-", "not measured")
        else:
            bars.add_row(bar.text, f"{value:.2f}", "pass" if bar.passes(value) else "MISS")
    console.print(bars)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench_gateway", description=__doc__)
    for kind in PEERS:
        parser.add_argument(f"--{kind.name}", type=Path, metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--held", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
