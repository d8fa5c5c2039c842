"""``cortexd top``: neurons, models and actors of a running fleet, refreshed until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterable
from typing import Any, Final

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.tables import (
    make_console,
    make_table,
    neuron_table,
    replica_table,
    summary_line,
)

Actor = tuple[str, dict[str, Any]]
_HEADING: Final = 1


def add_command(commands: Any, client: argparse.ArgumentParser) -> None:
    """Add ``top`` to the command line."""
    parser = commands.add_parser(
        "top", parents=[client], help="watch neurons, models and actors (--url: a neuron's, too)"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--once", action="store_true", help="print once and end, as --json does")
    parser.set_defaults(command=_top)


def _top(args: argparse.Namespace) -> int:
    console = make_console()
    with GatewayClient(args.url) as daemon:
        if args.json:
            print(json.dumps(_snapshot(daemon), indent=2))
            return 0
        if args.once:
            console.print(_page(daemon))
            return 0
        pause = threading.Event()
        first = live_page(_snapshot(daemon), console)
        with Live(first, console=console, screen=True, auto_refresh=False) as live:
            while not pause.wait(args.interval):
                live.update(_page_or_error(daemon, console), refresh=True)
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
        _actor_table(_actors(snapshot)),
    )


def live_page(snapshot: dict[str, Any], console: Console) -> Group:
    """Return as much as fits on ``console``: actors that are in trouble go before the others."""
    status = snapshot["status"]
    neurons = status.get("neurons", ())
    above = Group(
        Text(summary_line(status), no_wrap=True, overflow="ellipsis"),
        "",
        neuron_table(neurons),
        "",
        _lined(replica_table(neurons), "STATUS"),
        "",
    )
    actors = _actors(snapshot)
    room = console.height - len(console.render_lines(above, pad=False)) - _HEADING
    if len(actors) <= room:
        return Group(above, _lined(_actor_table(actors), "DETAIL"))
    chosen = sorted(actors, key=_calm)[: max(0, room - 1)]
    more = f"… and {len(actors) - len(chosen)} more: top --once prints all"
    return Group(above, _lined(_actor_table(chosen), "DETAIL"), more)


def _page_or_error(daemon: GatewayClient, console: Console) -> Group | str:
    try:
        return live_page(_snapshot(daemon), console)
    except GatewayError as error:
        return str(error)


def _actors(snapshot: dict[str, Any]) -> list[Actor]:
    return [(daemon, row) for daemon, rows in snapshot["actors"].items() for row in rows]


def _calm(actor: Actor) -> tuple[bool, int, int]:
    """Sort what does not run first, then what lags behind, then what has died most often."""
    _, row = actor
    return row["state"] == "running", -int(row["mailbox"]), -int(row["restarts"])


def _lined(table: Table, giving: str) -> Table:
    """Give each row one line, whatever its texts are; ``giving`` is the column that is cut."""
    table.expand = True
    for column in table.columns:
        column.no_wrap = True
        column.ratio = 1 if column.header == giving else None
    return table


def _actor_table(actors: Iterable[Actor]) -> Table:
    table = make_table("DAEMON", "ACTOR", "STATE", "RESTARTS", "MAILBOX", "HANDLED", "DETAIL")
    for daemon, row in actors:
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
