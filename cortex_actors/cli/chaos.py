"""``neurond chaos``: make a rank of a running neuron misbehave, to see what happens then."""

from __future__ import annotations

import argparse
from typing import Any

from cortex_actors.cli.gateway_client import GatewayClient
from neuron_runtime.faults import FaultKind, Phase

_NEURON_URL = "http://127.0.0.1:13131"


def add_command(commands: Any) -> None:
    """Add ``chaos`` to the command line."""
    parser = commands.add_parser("chaos", help="break a rank on purpose (needs neuron.chaos: true)")
    parser.add_argument("fault", choices=[kind.value for kind in FaultKind])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument(
        "--phase",
        choices=[phase.value for phase in Phase],
        default="before",
        help="when it strikes; starting: when the rank is next replaced (default: %(default)s)",
    )
    parser.add_argument("--after", type=int, default=0, help="steps to let pass first")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="how slow slow is")
    parser.add_argument("--url", default=_NEURON_URL, help="the neuron (default: %(default)s)")
    parser.set_defaults(command=_chaos)


def _chaos(args: argparse.Namespace) -> int:
    names = ("fault", "model", "rank", "phase", "after", "times", "seconds")
    with GatewayClient(args.url) as neuron:
        neuron.chaos({name: getattr(args, name) for name in names})
    print(f"{args.fault} is armed in rank {args.rank} of {args.model}")
    return 0
