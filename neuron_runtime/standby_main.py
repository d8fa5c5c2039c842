"""Entry of a process that waits to become another: ``python -m neuron_runtime.standby_main``.

It has no identity and no link. It imports what ``--module`` will need, says that it is ready, and
runs that module's ``main`` with the command line that comes through its socket.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

from neuron_runtime.child import ChildProcess
from neuron_runtime.command_line import show_command_line
from neuron_runtime.exit_codes import ExitCode

_log = logging.getLogger("cortex.standby")


def main(argv: Sequence[str] | None = None) -> int:
    """Wait to be assigned and be that; 0 if nobody ever does. Main thread."""
    arguments = _parser().parse_args(argv)
    ChildProcess.wait(arguments)
    entry = importlib.import_module(arguments.module)
    try:
        entry.prepare(arguments.prepare)
    except ImportError:
        _log.exception("cannot be prepared module=%s", arguments.module)
        return ExitCode.BACKEND_UNAVAILABLE
    command = _await_command(arguments.socket_fd)
    if not command:
        return ExitCode.OK
    show_command_line([sys.executable, "-m", *command])
    return int(entry.main(command[1:], ChildProcess.assume))


def _await_command(fd: int) -> list[str]:
    with socket.socket(fileno=fd) as channel:
        channel.set_inheritable(False)
        # Nobody listens any more when the daemon has died, and then there is nothing to be read.
        with suppress(OSError):
            channel.send(b"\0")
        received = b""
        while piece := channel.recv(65536):
            received += piece
    return list(json.loads(received)) if received else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A process that is prepared to become another.")
    parser.add_argument("--module", required=True)
    parser.add_argument("--prepare", action="append", default=[], metavar="ARGUMENT")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("room", help="blanks, to be overwritten with the assigned command line")
    parser.add_argument("--death-fd", type=int, required=True)
    parser.add_argument("--name", required=True)
    # What every process is told; here it means nobody.
    parser.add_argument("--slot", type=int)
    parser.add_argument("--inc", type=int)
    return parser


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
