"""``cortexd bench serve``: what the clients of an OpenAI endpoint see under load.

Streams chat completions of a given length with distinct prompts, greedily, from one thread that
spends little (its own share of a core is reported). Works with any server: ours, llama-server,
vLLM, ``transformers serve``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from dataclasses import asdict, dataclass
from typing import Any, final

from rich.table import Table

from cortex_actors.cli.bench.arrivals import poisson_arrivals
from cortex_actors.cli.bench.load_generator import LoadGenerator
from cortex_actors.cli.bench.prompts import Prompts
from cortex_actors.cli.bench.serve_figures import ServeFigures, Spread
from cortex_actors.cli.bench.stream_record import StreamRecord
from cortex_actors.cli.bench.target import Target
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_console, make_table

_STREAMS = "1,8,16"
_REQUESTS_PER_STREAM = 2
_OPEN_REQUESTS = 32
_WARM_UP_TOKENS = 4
_WARM_UP_S = 3600.0
_LIMIT_S = 300.0


@final
@dataclass(frozen=True, slots=True)
class Level:
    """One load and what came of it; ``generator_share`` is of one core."""

    load: str
    figures: ServeFigures
    generator_share: float


def add_command(measures: argparse._SubParsersAction[Any], client: argparse.ArgumentParser) -> None:
    """Add ``serve`` to ``cortexd bench``."""
    parser = measures.add_parser(
        "serve", parents=[client], help="latency and throughput of any OpenAI endpoint"
    )
    parser.add_argument("--model", required=True)
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--streams", type=_counts, default=_STREAMS, help="levels (default: %(default)s)"
    )
    load.add_argument("--rate", type=float, help="open loop: requests a second, Poisson arrivals")
    parser.add_argument(
        "--requests", type=_count, help="per level (default: two per stream; 32 in an open loop)"
    )
    parser.add_argument("--prompt-tokens", type=_count, default=80)
    parser.add_argument("--prefix-tokens", type=int, default=0, help="of these, shared by all")
    parser.add_argument("--new-tokens", type=_count, default=96)
    parser.add_argument("--limit", type=float, default=_LIMIT_S, help="seconds per level")
    parser.add_argument("--seed", type=int, help="of prompts and arrivals (default: a new one)")
    parser.add_argument("--api-key", default="", help="default: OPENAI_API_KEY")
    parser.add_argument(
        "--body", type=_body, default={}, metavar="JSON", help="fields to set, or null to leave out"
    )
    parser.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    key = args.api_key or os.environ.get("OPENAI_API_KEY", "")
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    try:
        target = Target.parse(args.url, args.model, api_key=key, body=args.body)
        Prompts(seed, args.prompt_tokens, args.prefix_tokens)
        if args.rate is not None:
            poisson_arrivals(args.rate, 1, seed)
    except ValueError as error:
        raise GatewayError(str(error)) from error
    levels = _measure_all(args, target, seed)
    report = {
        "url": args.url,
        "model": args.model,
        "seed": seed,
        "prompt_tokens": args.prompt_tokens,
        "prefix_tokens": args.prefix_tokens,
        "new_tokens": args.new_tokens,
        "levels": [asdict(level) for level in levels],
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(levels)
    return int(any(level.figures.errors for level in levels))


def _measure_all(args: argparse.Namespace, target: Target, seed: int) -> list[Level]:
    console = make_console(stderr=True)
    with console.status("warming up"):
        warm_up(target, seed)
    if args.rate is not None:
        with console.status(f"{args.rate:g} requests a second"):
            return [_open_level(args, target, seed)]
    levels = []
    for number, streams in enumerate(args.streams):
        with console.status(f"{streams} streams"):
            levels.append(_closed_level(args, target, seed + number, streams))
    return levels


def warm_up(target: Target, seed: int) -> None:
    """Ask once, so that loading the model is no part of what is measured.

    Raises:
        GatewayError: The endpoint does not answer as it should.
    """
    prompt = Prompts(seed, _WARM_UP_TOKENS).prompt(-1)
    load = LoadGenerator(target, _WARM_UP_TOKENS)
    (record,) = asyncio.run(load.closed_loop([prompt], 1, _WARM_UP_S))
    if record.error:
        raise GatewayError(f"{target.host}:{target.port}: {record.error}")


def _closed_level(args: argparse.Namespace, target: Target, seed: int, streams: int) -> Level:
    prompts = _prompts(args, seed, args.requests or streams * _REQUESTS_PER_STREAM)
    load = LoadGenerator(target, args.new_tokens)
    began = _Effort()
    records = asyncio.run(load.closed_loop(prompts, streams, args.limit))
    return _level(f"{streams} streams" if streams > 1 else "1 stream", records, began)


def _open_level(args: argparse.Namespace, target: Target, seed: int) -> Level:
    prompts = _prompts(args, seed, args.requests or _OPEN_REQUESTS)
    due = poisson_arrivals(args.rate, len(prompts), seed)
    load = LoadGenerator(target, args.new_tokens)
    began = _Effort()
    return _level(f"{args.rate:g}/s", asyncio.run(load.open_loop(prompts, due, args.limit)), began)


def _prompts(args: argparse.Namespace, seed: int, count: int) -> list[str]:
    prompts = Prompts(seed, args.prompt_tokens, args.prefix_tokens)
    return [prompts.prompt(number) for number in range(count)]


@final
class _Effort:
    """The generator's own use of its core since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def share(self) -> float:
        wall = time.perf_counter() - self._wall
        return (time.process_time() - self._cpu) / wall if wall else 0.0


def _level(load: str, records: list[StreamRecord], began: _Effort) -> Level:
    return Level(load, ServeFigures.of(records), began.share())


def _show(levels: list[Level]) -> None:
    console = make_console()
    console.print(_table(levels))
    busiest = max(level.generator_share for level in levels)
    console.print(f"ms, p50/p99[/max]; the generator itself took {busiest:.1%} of a core")
    for level in levels:
        if level.figures.cut:
            console.print(f"{level.load}: {level.figures.cut} cut at the time limit")
        for error, count in level.figures.errors.items():
            console.print(f"{level.load}: {count} x {error}")


def _table(levels: list[Level]) -> Table:
    table = make_table("LOAD", "DONE", "ERRORS", "TTFT", "ITL", "TOTAL", "TOK/S")
    for level in levels:
        figures = level.figures
        gap = figures.gap
        table.add_row(
            level.load,
            f"{figures.completed}/{figures.requests}",
            str(sum(figures.errors.values())),
            _spread(figures.first_text),
            f"{_spread(gap)}/{_ms(gap.max)}" if gap else "-",
            _spread(figures.total),
            f"{figures.tokens_per_s:.1f}",
        )
    return table


def _spread(spread: Spread | None) -> str:
    return f"{_ms(spread.p50)}/{_ms(spread.p99)}" if spread else "-"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.{1 if seconds < 0.1 else 0}f}"


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _body(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return fields
