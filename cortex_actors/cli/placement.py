"""``cortexd plan``, ``pin``, ``unpin`` and ``reload``: what operators ask of a gateway."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.cli.tables import make_console, make_table


def add_commands(commands: Any, client: argparse.ArgumentParser) -> None:
    """Add the commands to ``commands``; ``client`` has the options of every client."""
    plan = commands.add_parser("plan", help="show what a change would do, without doing it")
    changes = plan.add_subparsers(metavar="WHAT", required=True)
    load = changes.add_parser("load", parents=[client], help="where a model would go, and for what")
    load.add_argument("model")
    load.set_defaults(command=_plan)
    for name, command, summary in (
        ("pin", _pin, "never unload a model to make room or for idleness"),
        ("unpin", _unpin, "let a model be unloaded again"),
    ):
        pin = commands.add_parser(name, parents=[client], help=summary)
        pin.add_argument("model")
        pin.set_defaults(command=command)
    reload = commands.add_parser("reload", parents=[client], help="read the catalogue again")
    reload.set_defaults(command=_reload)


def plan_summary(plan: Mapping[str, Any]) -> str:
    """Return in one line what would happen."""
    model, chosen = plan["model"], plan["chosen"]
    if plan["loaded_on"]:
        return f"{model} is loaded on {', '.join(plan['loaded_on'])}"
    if not chosen:
        return f"{model} cannot be loaded now"
    (row,) = [row for row in plan["neurons"] if row["neuron"] == chosen]
    took = f", which took {row['load_s']:.1f} s before" if row["load_s"] else ""
    first = "once the neuron is not busy, " if row["busy"] else ""
    gone = ", ".join(victim["model"] for victim in row["victims"])
    instead = f" in place of {gone}" if gone else ""
    return f"{model} would be loaded {first}on {chosen}{instead}{took}"


def plan_table(plan: Mapping[str, Any]) -> Table:
    """Return what every neuron could do for the model, a row each."""
    table = make_table("NEURON", "VERDICT", "WHY", "EVICTS (COST)", "LOAD", "FREE MB, AND AFTER")
    for row in plan["neurons"]:
        seconds = f"{row['load_s']:.1f} s{' warm' if row['warm'] else ''}" if row["load_s"] else ""
        table.add_row(
            row["neuron"] + (" *" if row["neuron"] == plan["chosen"] else ""),
            row["verdict"],
            row["why"],
            ", ".join(f"{each['model']} ({each['cost_s']:.1f} s)" for each in row["victims"]),
            seconds,
            ", ".join(
                f"{each['device']}: {each['before_mb']} > {each['after_mb']}"
                for each in row["devices"]
            ),
        )
    return table


def diff_lines(diff: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reload has changed, a line each."""
    yield from (f"+ {model}" for model in diff["added"])
    yield from (f"- {model}" for model in diff["removed"])
    for change in diff["changed"]:
        yield f"~ {change['name']}: {change['field']}: {_change(change)}"
    for change in diff["aliases"]:
        yield f"~ alias {change['name']}: {_change(change)}"


def _change(change: Mapping[str, str]) -> str:
    return f"{change['before'] or '(not set)'} -> {change['after'] or '(not set)'}"


def _plan(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        plan = gateway.plan(args.model)
    if args.json:
        print(json.dumps(plan, indent=2))
    else:
        console = make_console()
        console.print(plan_summary(plan))
        console.print(plan_table(plan))
    return 0 if plan["chosen"] or plan["loaded_on"] else 1


def _pin(args: argparse.Namespace) -> int:
    return _set_pin(args, pinned=True)


def _unpin(args: argparse.Namespace) -> int:
    return _set_pin(args, pinned=False)


def _set_pin(args: argparse.Namespace, *, pinned: bool) -> int:
    with GatewayClient(args.url) as gateway:
        answer = gateway.pin(args.model, pinned=pinned)
    word = "pinned" if pinned else "not pinned"
    print(json.dumps(answer, indent=2) if args.json else f"{answer['model']} is {word}")
    return 0


def _reload(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        diff = gateway.reload()
    if args.json:
        print(json.dumps(diff, indent=2))
    else:
        print("\n".join(diff_lines(diff)) or "the catalogue has not changed")
    return 0
