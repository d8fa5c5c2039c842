"""What ``cortexd`` can be told besides ``serve`` and ``check``; asks the gateway that runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.status import Status
from rich.text import Text

from cortex_actors.cli import (
    api_keys,
    bench_coldload,
    bench_gateway,
    bench_health,
    bench_serve,
    explain,
    keygen,
    placement,
    top,
)
from cortex_actors.cli.conformance import command as conformance
from cortex_actors.cli.gateway_client import DEFAULT_URL, GatewayClient
from cortex_actors.cli.tables import (
    catalogue_table,
    make_console,
    neuron_table,
    replica_table,
    summary_line,
)
from cortex_actors.cli.url_argument import http_url
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.loader import load_gateway_config

_AFTER_KEYGEN = (
    "Set gateway.key_file to {secret}; copy {public} into the gateway_keys folder of each neuron."
)


def add_commands(commands: argparse._SubParsersAction[Any], default_config: Path) -> None:
    """Add them all."""
    client = argparse.ArgumentParser(add_help=False)
    client.add_argument(
        "--url", type=http_url, default=DEFAULT_URL, help="the gateway (default: %(default)s)"
    )
    client.add_argument("--json", action="store_true", help="print JSON instead of a table")

    status = commands.add_parser("status", parents=[client], help="show neurons and models")
    status.set_defaults(command=_status)
    top.add_command(commands, client)
    explain.add_command(commands, client)
    models = commands.add_parser("models", parents=[client], help="list the catalogue")
    models.set_defaults(command=_models)
    for name, command in (("load", _load), ("unload", _unload)):
        change = commands.add_parser(name, parents=[client], help=f"{name} a model")
        change.add_argument("model")
        change.set_defaults(command=command)

    placement.add_commands(commands, client)
    keygen.add_command(commands, _AFTER_KEYGEN)
    api_keys.add_command(commands, default_config, _api_key_settings)
    conformance.add_command(commands)
    bench = commands.add_parser("bench", help="measure a running gateway")
    measures = bench.add_subparsers(metavar="WHAT", required=True)
    bench_coldload.add_command(measures, client)
    bench_gateway.add_command(measures)
    bench_health.add_command(measures, client)
    bench_serve.add_command(measures, client)


def _api_key_settings(path: Path, environ: Mapping[str, str]) -> ApiKeySettings:
    return load_gateway_config(path, environ).gateway.api_keys


def _status(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        status = gateway.status()
    code = 1 if status.get("health", {}).get("status") == "degraded" else 0
    if args.json:
        print(json.dumps(status, indent=2))
        return code
    neurons = status.get("neurons", ())
    console = make_console()
    console.print(summary_line(status))
    console.print(neuron_table(neurons))
    console.print(replica_table(neurons))
    return code


def _models(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        answer = gateway.models()
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        make_console().print(catalogue_table(answer.get("data", ())))
    return 0


def _busy(doing: str) -> Status:
    return make_console(stderr=True).status(Text(doing))


def _load(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway, _busy(f"loading {args.model}"):
        answer = gateway.load(args.model)
    print(json.dumps(answer, indent=2) if args.json else f"{args.model} is loaded")
    return 0


def _unload(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway, _busy(f"unloading {args.model}"):
        answer = gateway.unload(args.model)
    print(json.dumps(answer, indent=2) if args.json else f"{args.model} is unloaded")
    return 0
