"""``cortexd explain REQUEST_ID``: where a request went, why, and where its time went."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from rich.table import Table

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.tables import make_console, make_table

PHASES: Final = {
    "lease": "until a ready replica took it",
    "load": "until a replica of its model was ready",
    "queue": "in the engine, until its first step",
    "prefill": "until its first token was drawn",
    "decode": "from there to its last",
    "write": "everything else: links, encoding, the client",
}


def add_command(commands: Any, client: argparse.ArgumentParser) -> None:
    """Add ``explain`` to the command line."""
    parser = commands.add_parser("explain", parents=[client], help="show what became of a request")
    parser.add_argument("request_id", metavar="REQUEST_ID", help="the x-request-id of its response")
    parser.set_defaults(command=_explain)


def _explain(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        found = gateway.explain(args.request_id)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    console = make_console()
    console.print(f"request {found['request_id']}, model {found['model']}")
    console.print(_steps(found["steps"]))
    if found["settled"] is not None:
        console.print("")
        console.print(_phases(found["settled"], found["phases"]))
    return 0


def _steps(steps: list[dict[str, Any]]) -> Table:
    table = make_table("AT", "EVENT", "NEURON", "DETAIL")
    for step in steps:
        table.add_row(f"{step['at_s']:.3f} s", step["event"], step["neuron"], step["detail"])
    return table


def _phases(settled: dict[str, Any], phases: dict[str, float]) -> Table:
    table = make_table("PHASE", "SECONDS", "WHAT IT IS")
    for name, seconds in phases.items():
        table.add_row(name, f"{seconds:.3f}", PHASES.get(name, ""))
    table.add_row("total", f"{settled['duration_s']:.3f}", f"outcome: {settled['outcome']}")
    table.add_row("first token", f"{settled['first_token_s']:.3f}", "from the request's arrival")
    read = f"{settled['prompt_tokens']} in ({settled['cached_tokens']} cached)"
    thought = f", {settled['reasoning_tokens']} of the output reasoning"
    table.add_row("tokens", f"{settled['completion_tokens']} out", read + thought)
    return table
