"""``cortexd bench health``: how fast ``/health`` answers while a model loads and generates.

Several streams keep the model busy, one of them unloads it again and again, and another connection
asks for ``/health`` at a steady pace.
"""

from __future__ import annotations

import argparse
import json
import math
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, final

import httpx
from rich.text import Text

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_console, make_table
from cortex_actors.cli.url_argument import http_url
from transports.clock import Clock, MonotonicClock

_QUESTION = "Count from one to two hundred, in words."
_MAX_TOKENS = 200
_PAUSE_S = 0.2
_STOP_S = 5.0
_PROBE_TIMEOUT_S = 10.0


def add_command(measures: argparse._SubParsersAction[Any], client: argparse.ArgumentParser) -> None:
    """Add ``health`` to ``cortexd bench``."""
    parser = measures.add_parser("health", parents=[client], help="/health under cold loads")
    parser.add_argument("--model", required=True)
    parser.add_argument(
        "--probe",
        type=http_url,
        action="append",
        metavar="URL",
        help="whose /health (repeat; default: --url)",
    )
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=0.02, help="seconds between two questions")
    parser.set_defaults(command=_run)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; of no samples it is infinite."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.inf


@final
class FleetLoad:
    """Streams against a gateway, with cold loads in between, for as long as the context lasts."""

    def __init__(self, url: str, model: str, streams: int) -> None:
        self._url = url
        self._model = model
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._stream, args=(number == 0,), name="load", daemon=True)
            for number in range(streams)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_STOP_S)

    def _stream(self, unloads: bool) -> None:
        with GatewayClient(self._url) as gateway:
            while not self._over.is_set():
                try:
                    if unloads:
                        gateway.unload(self._model)
                    for _ in gateway.stream_chat(self._model, _QUESTION, _MAX_TOKENS):
                        if self._over.is_set():
                            break
                except GatewayError:
                    self._over.wait(_PAUSE_S)


def probe(url: str, seconds: float, every_s: float, clock: Clock | None = None) -> list[float]:
    """Ask for ``/health`` at a steady pace; return the seconds each answer took.

    Raises:
        GatewayError: An answer did not come, or was not 200.
    """
    clock = clock or MonotonicClock()
    pause = threading.Event()
    samples: list[float] = []
    with httpx.Client(base_url=url, timeout=_PROBE_TIMEOUT_S, trust_env=False) as http:
        end = clock.now() + seconds
        while (asked := clock.now()) < end:
            try:
                http.get("/health").raise_for_status()
            except httpx.HTTPError as error:
                raise GatewayError(f"{url}/health: {error}") from error
            took = clock.now() - asked
            samples.append(took)
            pause.wait(max(0.0, every_s - took))
    return samples


def _run(args: argparse.Namespace) -> int:
    report = []
    console = make_console(stderr=True)
    with GatewayClient(args.url) as gateway:
        gateway.load(args.model)
    with FleetLoad(args.url, args.model, args.streams):
        for url in args.probe or [args.url]:
            with console.status(Text(f"asking {url}/health for {args.seconds:.0f} s")):
                samples = probe(url, args.seconds, args.every)
            report.append(_row(url, samples))
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    table = make_table("HEALTH OF", "ANSWERS", "P50", "P99", "MAX")
    for row in report:
        times = (f"{row[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "max_ms"))
        table.add_row(row["url"], str(row["answers"]), *times)
    make_console().print(table)
    return 0


def _row(url: str, samples: Sequence[float]) -> dict[str, Any]:
    return {
        "url": url,
        "answers": len(samples),
        "p50_ms": percentile(samples, 50) * 1e3,
        "p99_ms": percentile(samples, 99) * 1e3,
        "max_ms": percentile(samples, 100) * 1e3,
    }
