"""``neurond chaos``: make a rank of a running neuron misbehave, to see what happens then."""

from __future__ import annotations

import argparse
import math
from typing import Any

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.url_argument import http_url
from neuron_runtime.faults import FaultKind, Phase

_NEURON_URL = "http://127.0.0.1:13131"


def add_command(commands: Any) -> None:
    """Add ``chaos`` to the command line."""
    parser = commands.add_parser("chaos", help="break a rank on purpose (needs neuron.chaos: true)")
    parser.add_argument("fault", choices=[kind.value for kind in FaultKind])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rank", type=_number, default=0)
    parser.add_argument(
        "--phase",
        choices=[phase.value for phase in Phase],
        default="before",
        help="when it strikes; starting: when the rank is next replaced (default: %(default)s)",
    )
    parser.add_argument("--after", type=_number, default=0, help="steps to let pass first")
    parser.add_argument("--times", type=_times, default=1)
    parser.add_argument("--seconds", type=_seconds, default=1.0, help="how slow slow is")
    parser.add_argument(
        "--url", type=http_url, default=_NEURON_URL, help="the neuron (default: %(default)s)"
    )
    parser.set_defaults(command=_chaos)


def _chaos(args: argparse.Namespace) -> int:
    names = ("fault", "model", "rank", "phase", "after", "times", "seconds")
    with GatewayClient(args.url, daemon="neurond") as neuron:
        neuron.chaos({name: getattr(args, name) for name in names})
    print(f"{args.fault} is armed in rank {args.rank} of {args.model}")
    return 0


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 0")
    return number


def _times(text: str) -> int:
    times = _number(text)
    if not times:
        raise argparse.ArgumentTypeError("0 times is never")
    return times


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0.0):
        raise argparse.ArgumentTypeError(f"'{text}' is no time")
    return seconds
