"""A started process as the launcher's thread holds it: pidfd, death pipe and life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import final

from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.process import ProcessLife
from neuron_runtime.process_spec import ProcessSpec


@final
class SpawnedProcess:
    """One process from its start until it is reaped. Launcher's thread only.

    Args:
        spec: What it was started as.
        pid: The process, a child of ours.
        death_fd: Our end of its death pipe.

    Raises:
        OSError: The operating system refused to watch it; ``death_fd`` is still the caller's.
    """

    def __init__(self, spec: ProcessSpec, pid: int, death_fd: int) -> None:
        self.spec = spec
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        """Readable when it has ended."""
        self.life = ProcessLife()
        self._death_fd: int | None = death_fd

    @classmethod
    def start(cls, spec: ProcessSpec, fds: tuple[int, ...] = ()) -> SpawnedProcess:
        """Execute ``python -m spec.module``, which inherits ``fds``.

        Raises:
            OSError: The operating system refused.
            ValueError: No command line can hold what ``spec`` says.
        """
        read_fd, write_fd = os.pipe()
        try:
            popen = subprocess.Popen(
                [sys.executable, "-m", spec.module, *spec.arguments(), "--death-fd", f"{read_fd}"],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **spec.env},
                pass_fds=(read_fd, *fds),
                close_fds=True,
                start_new_session=True,
            )
            # It is ours to reap; else subprocess warns that nobody has.
            popen.returncode = 0
            try:
                if spec.nice:
                    own = os.getpriority(os.PRIO_PROCESS, 0)
                    os.setpriority(os.PRIO_PROCESS, popen.pid, own + spec.nice)
                return cls(spec, popen.pid, write_fd)
            except OSError:
                kill_unwatched(popen.pid)
                raise
        except (OSError, ValueError):
            os.close(write_fd)
            raise
        finally:
            os.close(read_fd)

    def reap(self) -> int | None:
        """Return how it ended, a negative number being a signal; None while it runs."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Gone, and reaped by another: it was not our child any more.
            return ExitCode.PARENT_LOST
        return os.waitstatus_to_exitcode(status) if pid else None

    def close_death_pipe(self) -> None:
        """Let the process read EOF."""
        if self._death_fd is not None:
            os.close(self._death_fd)
            self._death_fd = None

    def close(self) -> None:
        """Release what we hold of a process that is gone."""
        os.close(self.pidfd)
        self.close_death_pipe()


def kill_unwatched(pid: int) -> None:
    """End a child of ours that nobody will be told of, and reap it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
