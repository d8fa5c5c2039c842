"""``cortexd bench gateway``: what the gateway itself costs, before an engine that costs nothing.

It starts everything itself: cortexd, a mock neuron behind the real link, and a bare HTTP server
that says the same, which shows what the load generator and this machine can do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from cortex_actors.cli.bench.gateway_figures import (
    HeldStreams,
    Latency,
    Memory,
    Throughput,
    held_streams,
    latency,
    memory,
    throughput,
)
from cortex_actors.cli.bench.mock_stack import HOST, MockStack
from cortex_actors.cli.tables import make_console, make_table

_MIB: Final = 1 << 20


def add_command(measures: argparse._SubParsersAction[Any]) -> None:
    """Add ``gateway`` to ``cortexd bench``."""
    parser = measures.add_parser("gateway", help="the gateway before a mock engine")
    parser.add_argument("--workers", type=int, default=2, help="front-end processes")
    parser.add_argument("--threads", type=int, default=1024, help="of each of them")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--held", type=int, default=1000, metavar="N", help="slow streams at once")
    parser.add_argument("--requests", type=int, default=20_000, help="to see memory grow over")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    with MockStack(args.workers, args.threads) as stack:
        report = measure(args, stack)
    if args.json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        _show(report)
    return int(any(errors for _, _, errors in _rows(report)))


Report = dict[str, Throughput | Latency | HeldStreams | Memory]


def measure(args: argparse.Namespace, stack: MockStack) -> Report:
    """Return all figures, by what was measured and of whom."""
    ports = {"bare": stack.bare_port, "cortex": stack.gateway_port}
    resident = {"bare": lambda: 0, "cortex": stack.resident_bytes}
    report: Report = {}
    with make_console(stderr=True).status("measuring") as status:
        for name, port in ports.items():
            address = (HOST, port)
            status.update(f"{name}: {args.connections} connections")
            for streamed in (False, True):
                key = f"{name} {'streamed' if streamed else 'whole'}"
                report[key] = throughput(address, args.connections, args.seconds, streamed=streamed)
            status.update(f"{name}: one connection")
            report[f"{name} alone"] = latency(address, args.seconds)
            status.update(f"{name}: {args.held} slow streams")
            if args.held:
                report[f"{name} held"] = held_streams(address, args.held, resident[name])
        status.update(f"cortex: {args.requests} requests")
        if args.requests:
            address = (HOST, stack.gateway_port)
            report["cortex memory"] = memory(
                address, args.connections, args.requests, stack.resident_bytes
            )
    return report


def _show(report: Report) -> None:
    table = make_table("MEASURED", "FIGURES", "ERRORS")
    for name, figures, errors in _rows(report):
        table.add_row(name, figures, "; ".join(f"{n} x {why}" for why, n in errors.items()))
    make_console().print(table)


def _rows(report: Report) -> list[tuple[str, str, dict[str, int]]]:
    return [(name, _words(figures), figures.errors) for name, figures in report.items()]


def _words(figures: Throughput | Latency | HeldStreams | Memory) -> str:
    match figures:
        case Throughput():
            return f"{figures.requests_per_s:,.0f} requests/s, {figures.tokens_per_s:,.0f} tokens/s"
        case Latency():
            return f"{figures.p50_s * 1e3:.2f} ms p50, {figures.p99_s * 1e3:.2f} ms p99"
        case HeldStreams():
            gap = f"gap {figures.gap_p50_s * 1e3:.0f} ms p50, {figures.gap_p99_s * 1e3:.0f} ms p99"
            return f"{figures.completed} of {figures.streams} streams, {gap}" + _resident(figures)
        case Memory():
            before, after = (size / _MIB for size in (figures.before, figures.after))
            return f"{before:.0f} MiB, after {figures.requests:,} requests {after:.0f} MiB"


def _resident(figures: HeldStreams) -> str:
    return f", {figures.resident / _MIB:.0f} MiB" if figures.resident else ""


def _as_json(report: Report) -> dict[str, Any]:
    dump: Callable[[Any], dict[str, Any]] = asdict
    return {name: dump(figures) for name, figures in report.items()}
