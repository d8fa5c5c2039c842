"""The ``neurond`` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from cortex_actors.cli import chaos, keygen, serving
from cortex_actors.cli.gateway_client import GatewayError
from cortex_actors.cli.tables import device_table
from cortex_actors.cli.version import version
from cortex_actors.config.devices import DeviceChoice, DeviceError, find_devices, parse_devices
from cortex_actors.config.loader import load_neuron_config
from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.config.preflight import check_neuron_host

_AFTER_KEYGEN = (
    "Set neuron.key_file to {secret}; copy {public} to each gateway and name it as the key_file"
    " of this neuron there."
)
_DEFAULT_CONFIG = Path("conf/neuron.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.command(args)
    except (DeviceError, GatewayError) as error:
        print(f"neurond: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _daemon() -> serving.Daemon[NeuronConfig]:
    return serving.Daemon(
        name="neurond",
        load=load_neuron_config,
        check_host=check_neuron_host,
        run=_run,
    )


def _run(config: NeuronConfig) -> int:
    from cortex_actors.neuron import daemon  # noqa: PLC0415 - only serving needs the actor tree

    return daemon.run(config)


def _serve(args: argparse.Namespace) -> int:
    return serving.serve(_daemon(), args.config)


def _check(args: argparse.Namespace) -> int:
    return serving.check(_daemon(), args.config, config_only=args.config_only)


def _devices(args: argparse.Namespace) -> int:
    devices = find_devices(args.devices)
    if args.json:
        print(json.dumps(msgspec.to_builtins(devices), indent=2))
    else:
        Console().print(device_table(devices))
    return 0


def _device_choice(text: str) -> DeviceChoice:
    try:
        return parse_devices(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neurond", description="Serves language models on this host's devices."
    )
    parser.add_argument("--version", action="version", version=f"neurond {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("-c", "--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE")

    serve = commands.add_parser("serve", parents=[config], help="run the neuron")
    serve.set_defaults(command=_serve)
    check = commands.add_parser("check", parents=[config], help="test configuration and host")
    check.add_argument("--config-only", action="store_true", help="do not look at this host")
    check.set_defaults(command=_check)

    devices = commands.add_parser("devices", help="list the devices that would be offered")
    devices.add_argument(
        "devices", nargs="?", type=_device_choice, default="auto", help="as in neuron.yaml"
    )
    devices.add_argument("--json", action="store_true", help="print JSON instead of a table")
    devices.set_defaults(command=_devices)
    chaos.add_command(commands)
    keygen.add_command(commands, _AFTER_KEYGEN)
    return parser


if __name__ == "__main__":
    sys.exit(main())
