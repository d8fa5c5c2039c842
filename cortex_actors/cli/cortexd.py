"""The ``cortexd`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cortex_actors.cli import serving
from cortex_actors.cli.gateway_error import GatewayError
from cortex_actors.cli.version import version
from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.config.loader import load_gateway_config
from cortex_actors.config.preflight import check_gateway_host

_DEFAULT_CONFIG = Path("conf/cortex.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    asked = list(sys.argv[1:] if argv is None else argv)
    args = _parser(asked).parse_args(asked)
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


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cortexd", description="One API in front of a fleet of neurons."
    )
    parser.add_argument("--version", action="version", version=f"cortexd {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serving.add_commands(commands, _daemon(), _DEFAULT_CONFIG, "gateway")
    if not serving.is_asked(asked):
        from cortex_actors.cli import gateway_commands  # noqa: PLC0415 - a daemon needs none of it

        gateway_commands.add_commands(commands, _DEFAULT_CONFIG)
    return parser


if __name__ == "__main__":
    sys.exit(main())
