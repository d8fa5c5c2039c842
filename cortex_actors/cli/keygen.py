"""``keygen``: a CURVE key pair for a link that leaves this host."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from transports.curve import generate_keypair
from transports.errors import KeyFileError


def add_command(commands: argparse._SubParsersAction[Any], next_step: str) -> None:
    """Add ``keygen``; ``next_step`` says what to do with the two files."""
    parser = commands.add_parser("keygen", help="make a CURVE key pair for encrypted links")
    parser.add_argument("name", help="of this daemon; the files are NAME.key and NAME.key_secret")
    parser.add_argument("-d", "--directory", type=Path, default=Path(), metavar="FOLDER")
    parser.set_defaults(command=_keygen, next_step=next_step)


def _keygen(args: argparse.Namespace) -> int:
    try:
        keys = generate_keypair(args.directory, args.name)
    except KeyFileError as error:
        print(f"keygen: {error}", file=sys.stderr)
        return 1
    secret = args.directory / f"{args.name}.key_secret"
    print(f"public key: {keys.public.decode()}")
    print(args.next_step.format(secret=secret, public=secret.with_suffix(".key")))
    return 0
