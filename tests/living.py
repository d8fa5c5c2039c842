"""Which processes still run, and that none outlives the tests."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterable

import psutil


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies whose parent is slow do not count."""
    return [process for process in processes if _status(process) != psutil.STATUS_ZOMBIE]


def _status(process: psutil.Process) -> str:
    # It may end between two looks; is_running() also tells a reused pid from this process.
    try:
        return str(process.status()) if process.is_running() else psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none when it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def die_with_the_tests() -> None:
    """A test run that is killed has no time to stop its daemons."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
