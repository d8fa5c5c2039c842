"""``cortexd bench coldload``: from a request for an unloaded model to its first token.

Each run unloads the model, so processes, weights and tokenizer start cold; the converted files stay
in the cache. The phases are what the gateway's state shows while the request waits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

import httpx

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_console, make_table
from transports.clock import Clock, MonotonicClock

_QUESTION = "Say hello."
_POLL_S = 0.02
_WATCHER_S = 5.0


@final
@dataclass(frozen=True, slots=True)
class ColdLoad:
    """One run, in seconds from the request: when each state was first seen, and the first token."""

    first_token_s: float
    total_s: float
    states_s: dict[str, float]


def add_command(measures: argparse._SubParsersAction[Any], client: argparse.ArgumentParser) -> None:
    """Add ``coldload`` to ``cortexd bench``."""
    parser = measures.add_parser("coldload", parents=[client], help="request to first token, cold")
    parser.add_argument("--model", required=True)
    parser.add_argument("-n", "--runs", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.set_defaults(command=_run)


def measure(url: str, model: str, max_tokens: int, clock: Clock | None = None) -> ColdLoad:
    """Unload ``model``, then time one streamed answer.

    Raises:
        GatewayError: The gateway does not answer, refuses, or answers with nothing.
    """
    clock = clock or MonotonicClock()
    with GatewayClient(url) as gateway:
        _unload(gateway, model)
        started = clock.now()
        watcher = _StateWatcher(url, model, clock)
        try:
            pieces = gateway.stream_chat(model, _QUESTION, max_tokens)
            if next(pieces, None) is None:
                raise GatewayError(f"'{model}' answered with no text")
            first_token_s = clock.now() - started
            for _ in pieces:
                pass
        finally:
            seen = watcher.stop()
    states_s = {state: at - started for state, at in seen.items()}
    return ColdLoad(first_token_s, clock.now() - started, states_s)


def _unload(gateway: GatewayClient, model: str) -> None:
    try:
        gateway.unload(model)
    except GatewayError as error:
        # It is cold already; if there is no such model, asking it will tell.
        if error.status != httpx.codes.NOT_FOUND:
            raise


@final
class _StateWatcher:
    """Notes when the model is first seen in each state; a thread of its own."""

    def __init__(self, url: str, model: str, clock: Clock) -> None:
        self._seen: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(url, model, clock), name="state-watcher", daemon=True
        )
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """End the thread; return each state and the clock's time when it was first seen."""
        self._stop.set()
        self._thread.join(_WATCHER_S)
        return dict(self._seen)

    def _watch(self, url: str, model: str, clock: Clock) -> None:
        with GatewayClient(url) as gateway:
            while not self._stop.wait(_POLL_S):
                try:
                    models = gateway.status().get("models", ())
                except GatewayError:
                    return
                for found in models:
                    if found["id"] == model:
                        self._seen.setdefault(found["status"], clock.now())


def medians(runs: Iterable[ColdLoad]) -> dict[str, float]:
    """Return the median of every figure, the states in the order of their medians."""
    figures: dict[str, list[float]] = {}
    for run in runs:
        for name, seconds in (*run.states_s.items(), ("first token", run.first_token_s)):
            figures.setdefault(name, []).append(seconds)
        figures.setdefault("last token", []).append(run.total_s)
    middle = {name: statistics.median(seconds) for name, seconds in figures.items()}
    return dict(sorted(middle.items(), key=lambda item: item[1]))


def _run(args: argparse.Namespace) -> int:
    console = make_console(stderr=True)
    runs = []
    for number in range(1, args.runs + 1):
        with console.status(f"cold load {number} of {args.runs}"):
            runs.append(measure(args.url, args.model, args.max_tokens))
        console.print(f"run {number}: first token after {runs[-1].first_token_s:.2f} s")
    middle = medians(runs)
    if not args.json:
        table = make_table("SINCE THE REQUEST", "MEDIAN")
        for name, seconds in middle.items():
            table.add_row(name, f"{seconds:.2f} s")
        make_console().print(table)
    report = {"model": args.model, "median_s": middle, "runs": [asdict(run) for run in runs]}
    print(json.dumps(report, indent=2 if args.json else None))
    return 0
