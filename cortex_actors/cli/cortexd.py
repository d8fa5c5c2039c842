"""The ``cortexd`` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cortex_actors.cli import (
    bench_coldload,
    bench_gateway,
    bench_health,
    bench_serve,
    explain,
    keygen,
    placement,
    serving,
    top,
)
from cortex_actors.cli.conformance import command as conformance
from cortex_actors.cli.gateway_client import DEFAULT_URL, GatewayClient, GatewayError
from cortex_actors.cli.tables import catalogue_table, neuron_table, replica_table, summary_line
from cortex_actors.cli.version import version
from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.config.loader import load_gateway_config
from cortex_actors.config.preflight import check_gateway_host

_AFTER_KEYGEN = (
    "Set gateway.key_file to {secret}; copy {public} into the gateway_keys folder of each neuron."
)
_DEFAULT_CONFIG = Path("conf/cortex.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.command(args)
    except GatewayError as error:
        print(f"cortexd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _daemon() -> serving.Daemon[GatewayConfig]:
    return serving.Daemon(
        name="cortexd",
        load=load_gateway_config,
        check_host=check_gateway_host,
        run=_run,
    )


def _run(config: GatewayConfig) -> int:
    from cortex_actors.gateway import daemon  # noqa: PLC0415 - only serving needs the actor tree

    return daemon.run(config)


def _serve(args: argparse.Namespace) -> int:
    return serving.serve(_daemon(), args.config)


def _check(args: argparse.Namespace) -> int:
    return serving.check(_daemon(), args.config, config_only=args.config_only)


def _status(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        status = gateway.status()
    code = 1 if status.get("health", {}).get("status") == "degraded" else 0
    if args.json:
        print(json.dumps(status, indent=2))
        return code
    neurons = status.get("neurons", ())
    console = Console()
    console.print(summary_line(status), highlight=False)
    console.print(neuron_table(neurons))
    console.print(replica_table(neurons))
    return code


def _models(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway:
        answer = gateway.models()
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        Console().print(catalogue_table(answer.get("data", ())))
    return 0


def _load(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway, Console(stderr=True).status(f"loading {args.model}"):
        answer = gateway.load(args.model)
    print(json.dumps(answer, indent=2) if args.json else f"{args.model} is loaded")
    return 0


def _unload(args: argparse.Namespace) -> int:
    with GatewayClient(args.url) as gateway, Console(stderr=True).status(f"unloading {args.model}"):
        answer = gateway.unload(args.model)
    print(json.dumps(answer, indent=2) if args.json else f"{args.model} is unloaded")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cortexd", description="One API in front of a fleet of neurons."
    )
    parser.add_argument("--version", action="version", version=f"cortexd {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("-c", "--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE")
    client = argparse.ArgumentParser(add_help=False)
    client.add_argument("--url", default=DEFAULT_URL, help="the gateway (default: %(default)s)")
    client.add_argument("--json", action="store_true", help="print JSON instead of a table")

    serve = commands.add_parser("serve", parents=[config], help="run the gateway")
    serve.set_defaults(command=_serve)
    check = commands.add_parser("check", parents=[config], help="test the configuration")
    check.add_argument("--config-only", action="store_true", help="do not look at this host")
    check.set_defaults(command=_check)

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
    conformance.add_command(commands)
    bench = commands.add_parser("bench", help="measure a running gateway")
    measures = bench.add_subparsers(metavar="WHAT", required=True)
    bench_coldload.add_command(measures, client)
    bench_gateway.add_command(measures)
    bench_health.add_command(measures, client)
    bench_serve.add_command(measures, client)
    return parser


if __name__ == "__main__":
    sys.exit(main())
