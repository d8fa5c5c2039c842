"""Entry of the fork server: ``python -m neuron_runtime.fork_server_main``.

It imports what engines, ranks and converters need, once, and then makes copies of itself on the
launcher's demand; each copy runs the ``main`` of one module. A copy takes 20 ms where an import of
torch and transformers takes seconds, and shares the memory of what has been imported.

It has one thread and computes nothing: only so are its copies sound. They are orphaned at once, so
that the daemon, which is a subreaper meanwhile (prctl(2)), becomes the parent that reaps them.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import select
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from neuron_runtime.child import ChildProcess
from neuron_runtime.command_line import show_command_line
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.fork_server import REQUEST_BYTES, ForkReply, ForkRequest
from neuron_runtime.frozen_imports import import_frozen

_log = logging.getLogger("cortex.fork_server")


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Import, say so, and serve until the launcher is gone; return how that went. Main thread."""
    arguments = _parser().parse_args(argv)
    ChildProcess.settle(arguments.name)
    try:
        import_frozen(arguments.modules)
    except ImportError:
        _log.exception("cannot import modules=%s", ",".join(arguments.modules))
        return ExitCode.BACKEND_UNAVAILABLE
    with socket.socket(fileno=arguments.socket_fd) as channel:
        channel.set_inheritable(False)
        _serve(channel, arguments.death_fd)
    return ExitCode.OK


def _serve(channel: socket.socket, death_fd: int) -> None:
    channel.send(msgspec.json.encode(ForkReply(ready=True)))
    own_fds = (channel.fileno(), death_fd)
    # Not select(2): a daemon with many links hands down descriptors that are too large for it.
    either = select.poll()
    for fd in own_fds:
        either.register(fd, select.POLLIN)
    while death_fd not in (fd for fd, _ in either.poll()):
        data, fds, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 1)
        if not data:
            return
        request = msgspec.json.decode(data, type=ForkRequest)
        try:
            reply = ForkReply(_fork(request, fds[0], own_fds))
        except OSError as error:
            reply = ForkReply(error=str(error))
        os.close(fds[0])
        channel.send(msgspec.json.encode(reply))


def _fork(request: ForkRequest, death_fd: int, own_fds: tuple[int, int]) -> int:
    """Make an orphan and return its process id.

    Raises:
        OSError: The operating system refused.
    """
    ours, its = socket.socketpair()
    # Closing ours is also what tells the copy to go on.
    with ours:
        with its:
            if not (between := os.fork()):
                ours.close()
                for fd in own_fds:
                    os.close(fd)
                _orphan(request, death_fd, its)
        os.waitpid(between, 0)
        told = ours.recv(16)
    if not told:
        raise OSError("there is no process for it")
    return int(told)


def _orphan(request: ForkRequest, death_fd: int, server: socket.socket) -> NoReturn:
    try:
        if pid := os.fork():
            server.send(str(pid).encode())
            os._exit(ExitCode.OK)
        # As long as the one between us has not been reaped, we are not the daemon's child.
        with server:
            server.recv(1)
        _become(request, death_fd)
    except BaseException:  # noqa: BLE001 - a copy must not go on as the server
        _log.exception("no copy name=%s", request.command[:1])
    finally:
        os._exit(ExitCode.INTERNAL)


def _become(request: ForkRequest, death_fd: int) -> NoReturn:
    os.setsid()
    os.environ.update(request.env)
    os.nice(request.nice)
    module, *args = request.command
    args += ["--death-fd", f"{death_fd}"]
    show_command_line([sys.executable, "-m", module, *args])
    try:
        code = int(importlib.import_module(module).main(args))
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else ExitCode.CONFIG
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A process of which others are copies.")
    parser.add_argument("--import", dest="modules", action="append", default=[], metavar="MODULE")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--death-fd", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slot")
    parser.add_argument("--inc")
    parser.add_argument("room", help="blanks, overwritten with the command line of each copy")
    return parser


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)
