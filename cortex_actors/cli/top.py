"""``cortexd top``: neurons, models and actors of a running daemon, refreshed until Ctrl-C."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from cortex_actors.cli.gateway_client import GatewayClient, GatewayError
from cortex_actors.cli.tables import make_table, neuron_table, replica_table, summary_line


def add_command(commands: Any, client: argparse.ArgumentParser) -> None:
    """Add ``top`` to the command line."""
    parser = commands.add_parser("top", parents=[client], help="watch neurons, models and actors")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="print once and end")
    parser.set_defaults(command=_top)


def _top(args: argparse.Namespace) -> int:
    console = Console()
    with GatewayClient(args.url) as gateway:
        if args.once:
            console.print(_page(gateway))
            return 0
        pause = threading.Event()
        with Live(_page(gateway), console=console, screen=True, auto_refresh=False) as live:
            while not pause.wait(args.interval):
                live.update(_page_or_error(gateway), refresh=True)
    return 0


def _page(gateway: GatewayClient) -> Group:
    status = gateway.status()
    neurons = status.get("neurons", ())
    return Group(
        summary_line(status),
        "",
        neuron_table(neurons),
        "",
        replica_table(neurons),
        "",
        _actor_table(gateway.actors()),
    )


def _page_or_error(gateway: GatewayClient) -> Group | str:
    try:
        return _page(gateway)
    except GatewayError as error:
        return str(error)


def _actor_table(actors: list[dict[str, Any]]) -> Table:
    table = make_table("ACTOR", "STATE", "RESTARTS", "MAILBOX", "HANDLED", "DETAIL")
    for row in actors:
        table.add_row(
            row["name"],
            row["state"],
            str(row["restarts"]),
            str(row["mailbox"]),
            str(row["handled"]),
            row["detail"],
        )
    return table
