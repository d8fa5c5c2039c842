"""The ``neurond`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cortex_actors.cli import serving
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.version import version
from cortex_actors.config.devices import DeviceError
from cortex_actors.config.loader import load_neuron_config
from cortex_actors.config.neuron_config import NeuronConfig
from cortex_actors.config.preflight import check_neuron_host

_DEFAULT_CONFIG = Path("conf/neuron.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    asked = list(sys.argv[1:] if argv is None else argv)
    args = _parser(asked).parse_args(asked)
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


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neurond", description="Serves language models on this host's devices."
    )
    parser.add_argument("--version", action="version", version=f"neurond {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serving.add_commands(commands, _daemon(), _DEFAULT_CONFIG, "neuron")
    if not serving.is_asked(asked):
        from cortex_actors.cli import neuron_commands  # noqa: PLC0415 - a daemon needs none of it

        neuron_commands.add_commands(commands, _DEFAULT_CONFIG)
    return parser


if __name__ == "__main__":
    sys.exit(main())
