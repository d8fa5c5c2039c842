"""``serve`` and ``check`` of either daemon: read, complain politely, or start."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from cortex_actors.config.errors import ConfigError, Problem
from transports.errors import TransportError

ConfigT = TypeVar("ConfigT")

EXIT_CONFIG = os.EX_CONFIG


@final
@dataclass(frozen=True, slots=True)
class Daemon(Generic[ConfigT]):
    """How one of the daemons is configured, checked and run."""

    name: str
    load: Callable[[Path, Mapping[str, str]], ConfigT]
    check_host: Callable[[ConfigT], tuple[Problem, ...]]
    run: Callable[[ConfigT], int]


def is_asked(argv: Sequence[str]) -> bool:
    """Whether the command is ``serve`` or ``check``, which need nothing that is the others'."""
    return argv[:1] in (["serve"], ["check"])


def add_commands(
    commands: argparse._SubParsersAction[Any], daemon: Daemon[ConfigT], default: Path, it: str
) -> None:
    """Add ``serve`` and ``check``; ``it`` is what is run, for the help."""
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("-c", "--config", type=Path, default=default, metavar="FILE")
    serving = commands.add_parser("serve", parents=[config], help=f"run the {it}")
    serving.set_defaults(command=lambda args: serve(daemon, args.config))
    checking = commands.add_parser(
        "check", parents=[config], help="test the configuration and this host"
    )
    checking.add_argument("--config-only", action="store_true", help="do not look at this host")
    checking.set_defaults(
        command=lambda args: check(daemon, args.config, config_only=args.config_only)
    )


def serve(daemon: Daemon[ConfigT], path: Path) -> int:
    """Run the daemon until it is told to stop; return its exit code.

    78 (EX_CONFIG) means that the configuration or the host is not fit: everything that is wrong has
    been printed, and starting again will not help.
    """
    try:
        config = daemon.load(path, os.environ)
    except ConfigError as error:
        return _complain(daemon.name, error.problems)
    problems = daemon.check_host(config)
    if problems:
        return _complain(daemon.name, problems)
    try:
        return daemon.run(config)
    except (TransportError, OSError) as error:
        print(f"{daemon.name}: cannot run: {error}", file=sys.stderr)
        return 1


def check(daemon: Daemon[ConfigT], path: Path, *, config_only: bool) -> int:
    """Print every problem with the configuration and, unless told not to, with this host."""
    try:
        config = daemon.load(path, os.environ)
    except ConfigError as error:
        return _complain(daemon.name, error.problems)
    problems = () if config_only else daemon.check_host(config)
    if problems:
        return _complain(daemon.name, problems)
    print(f"{daemon.name}: {path} is sound")
    return 0


def _complain(name: str, problems: Iterable[Problem]) -> int:
    """Print all problems; return the exit code for them."""
    lines = [str(problem) for problem in problems]
    plural = "" if len(lines) == 1 else "s"
    print(f"{name}: {len(lines)} problem{plural}:", file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)
    return EXIT_CONFIG
