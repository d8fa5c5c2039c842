"""``keys``: give API keys to those who ask a daemon, and take them away."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from cortex_actors.cli.tables import make_console
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.api_keys import ApiKeyError, add_api_key, read_api_keys, remove_api_key
from cortex_actors.config.errors import ConfigError

SettingsOf = Callable[[Path, Mapping[str, str]], ApiKeySettings]


def add_command(
    commands: argparse._SubParsersAction[Any], default: Path, settings_of: SettingsOf
) -> None:
    """Add ``keys``; ``settings_of`` reads what the daemon's configuration says of them."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-c", "--config", type=Path, default=default, metavar="FILE")
    keys = commands.add_parser("keys", help="add, list or remove API keys")
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    adding = actions.add_parser("add", parents=[common], help="make a key and print it, once")
    adding.add_argument("name", help="whom it is for")
    adding.add_argument(
        "--operator", action="store_true", help="it opens /admin and the like as well"
    )
    removing = actions.add_parser("remove", parents=[common], help="take a key away")
    removing.add_argument("name", help="whom it was for")
    listing = actions.add_parser("list", parents=[common], help="show who has a key")
    for parser, action in ((adding, _add), (removing, _remove), (listing, _list)):
        parser.set_defaults(command=_run, action=action, settings_of=settings_of)


def _run(args: argparse.Namespace) -> int:
    try:
        args.action(args, _file_of(args.settings_of(args.config, os.environ), args.config))
    except ConfigError as error:
        for problem in error.problems:
            print(f"keys: {problem}", file=sys.stderr)
        return 1
    except ApiKeyError as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0


def _file_of(settings: ApiKeySettings, config: Path) -> Path:
    if settings.file is None:
        raise ApiKeyError(f"{config} names no file for keys; set api_keys.file there")
    return settings.file


def _add(args: argparse.Namespace, file: Path) -> None:
    print(add_api_key(file, args.name, operator=args.operator))
    print(f"It is in {file} only as a digest, and is not shown again.", file=sys.stderr)


def _remove(args: argparse.Namespace, file: Path) -> None:
    remove_api_key(file, args.name)
    print(f"the key of '{args.name}' opens nothing within a second")


def _list(args: argparse.Namespace, file: Path) -> None:
    del args
    table = Table("name", "operator", "created", box=None)
    for key in read_api_keys(file) if file.exists() else ():
        table.add_row(key.name, "yes" if key.operator else "", key.created)
    make_console().print(table)
