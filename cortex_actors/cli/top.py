"""``cortexd top``: neurons, models and actors of a running fleet, refreshed until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import threading
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import make_table, neuron_table, replica_table, summary_line


def add_command(commands: Any, client: argparse.ArgumentParser) -> None:
    """Add ``top`` to the command line."""
    parser = commands.add_parser(
        "top", parents=[client], help="watch neurons, models and actors (--url: a neuron's, too)"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="print once and end, as --json does")
    parser.set_defaults(command=_top)


def _top(args: argparse.Namespace) -> int:
    console = Console()
    with GatewayClient(args.url) as daemon:
        if args.json:
            print(json.dumps(_snapshot(daemon), indent=2))
            return 0
        if args.once:
            console.print(_page(daemon))
            return 0
        pause = threading.Event()
        with Live(_page(daemon), console=console, screen=True, auto_refresh=False) as live:
            while not pause.wait(args.interval):
                live.update(_page_or_error(daemon), refresh=True)
    return 0


def _snapshot(daemon: GatewayClient) -> dict[str, Any]:
    """Return the status, and the actors by daemon: one that does not answer has none."""
    status, is_neuron = _status(daemon)
    actors = {str(status.get("service")): daemon.actors()}
    if not is_neuron:
        for neuron in status.get("neurons", ()):
            actors[neuron["name"]] = _actors_of(daemon, neuron)
    return {"status": status, "actors": actors}


def _status(daemon: GatewayClient) -> tuple[dict[str, Any], bool]:
    try:
        return daemon.status(), False
    except GatewayError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
    return daemon.neuron_status(), True


def _actors_of(daemon: GatewayClient, neuron: dict[str, Any]) -> list[dict[str, Any]]:
    if neuron.get("state") != "up":
        return []
    try:
        return daemon.actors(neuron["name"])
    except GatewayError as error:
        if not error.status:
            raise
        return []


def _page(daemon: GatewayClient) -> Group:
    snapshot = _snapshot(daemon)
    status = snapshot["status"]
    neurons = status.get("neurons", ())
    return Group(
        summary_line(status),
        "",
        neuron_table(neurons),
        "",
        replica_table(neurons),
        "",
        _actor_table(snapshot["actors"]),
    )


def _page_or_error(daemon: GatewayClient) -> Group | str:
    try:
        return _page(daemon)
    except GatewayError as error:
        return str(error)


def _actor_table(actors: dict[str, list[dict[str, Any]]]) -> Table:
    table = make_table("DAEMON", "ACTOR", "STATE", "RESTARTS", "MAILBOX", "HANDLED", "DETAIL")
    for daemon, rows in actors.items():
        for row in rows:
            table.add_row(
                daemon,
                row["name"],
                row["state"],
                str(row["restarts"]),
                str(row["mailbox"]),
                str(row["handled"]),
                row["detail"],
            )
    return table
