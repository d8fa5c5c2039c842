"""What every process that a Launcher started begins with."""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Self

from neuron_runtime import last_act
from neuron_runtime.exit_codes import ExitCode
from transports.link import Identity

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """Who this process is and where its parent listens, as told by its Launcher."""

    boot: int
    slot: int
    inc: int
    parent: str
    name: str

    @staticmethod
    def parser(description: str) -> argparse.ArgumentParser:
        """Return a parser of the arguments that all children share; an entry adds its own."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--boot", type=int, required=True)
        parser.add_argument("--slot", type=int, required=True)
        parser.add_argument("--inc", type=int, required=True)
        parser.add_argument("--parent", required=True, metavar="ENDPOINT")
        parser.add_argument("--death-fd", type=int, required=True)
        parser.add_argument("--name", required=True)
        return parser

    @classmethod
    def begin(cls, arguments: argparse.Namespace) -> Self:
        """Tie our life to the parent's and prepare signals and logging. Main thread, first thing.

        From here on the process ends with ``ExitCode.PARENT_LOST`` when its death pipe closes.
        SIGUSR1 writes all stacks to stderr; SIGINT is the parent's business.
        """
        os.set_inheritable(arguments.death_fd, False)
        threading.Thread(
            target=_await_eof, args=(arguments.death_fd,), name="death-pipe", daemon=True
        ).start()
        cls.settle(arguments.name)
        return cls(arguments.boot, arguments.slot, arguments.inc, arguments.parent, arguments.name)

    @staticmethod
    def settle(name: str) -> None:
        """Do what ``begin`` does but for the death pipe, which needs a thread. Main thread."""
        _die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        _log_as(name)

    def identity(self, role: str) -> Identity:
        """Return who we are on the link to our parent."""
        return Identity(self.boot, self.slot, self.inc, os.getpid(), role, self.name)


def _log_as(name: str) -> None:
    logging.basicConfig(
        level=os.environ.get("CORTEX_LOG_LEVEL", "INFO").upper(),
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {name}[%(process)d] %(name)s %(message)s",
        force=True,
    )


def _die_with_parent() -> None:
    # A parent that died before this line is seen as EOF of the death pipe; one that dies between
    # the first getppid and prctl, by the second getppid.
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(ExitCode.PARENT_LOST)


def _await_eof(death_fd: int) -> None:
    while os.read(death_fd, 1):
        pass
    last_act.perform()
    os._exit(ExitCode.PARENT_LOST)
