"""A started process as the launcher's thread holds it: pidfd, death pipe and life.

A *standby* is started without an identity: it imports what it will need and waits for its real
command line, which comes through a socket that only we hold.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import final

from neuron_runtime.process import ProcessLife
from neuron_runtime.process_spec import ProcessSpec, StandbySpec
from neuron_runtime.stopped import process_state

# After this a standby that has not said that it is ready is taken for stuck.
STANDBY_READY_S = 30.0
_STANDBY_MODULE = "neuron_runtime.standby_main"
# A process shows its assigned command line in the room that its first one took.
_COMMAND_LINE_ROOM = 1536


@final
class SpawnedProcess:
    """One process from its start until it is reaped. Launcher's thread only.

    Args:
        spec: What it was started as; ``assign`` gives a standby another.
        popen: The process.
        pidfd: Readable when it has ended.
        death_fd: Our end of its death pipe.
        child_death_fd: The number of that pipe in the process.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        popen: subprocess.Popen[bytes],
        pidfd: int,
        death_fd: int,
        child_death_fd: int,
    ) -> None:
        self.spec = spec
        self.popen = popen
        self.pidfd = pidfd
        self.life = ProcessLife()
        self.standby: StandbySpec | None = None
        self._death_fd: int | None = death_fd
        self._child_death_fd = child_death_fd
        self._socket: socket.socket | None = None
        self._since = 0.0
        self._ready = False

    @classmethod
    def start(cls, spec: ProcessSpec) -> SpawnedProcess:
        """Execute ``python -m spec.module``.

        Raises:
            OSError: The operating system refused.
        """
        return cls._start(spec, ())

    @classmethod
    def start_standby(cls, standby: StandbySpec, now: float) -> SpawnedProcess:
        """Execute a process that prepares itself to become any that ``standby`` fits.

        Raises:
            OSError: The operating system refused.
        """
        ours, its = socket.socketpair()
        with its:
            args = ("--module", standby.module, "--socket-fd", f"{its.fileno()}")
            room = (" " * _COMMAND_LINE_ROOM,)
            spec = ProcessSpec(
                "standby",
                _STANDBY_MODULE,
                (*args, *(f"--prepare={each}" for each in standby.prepare), *room),
                slot=0,
                inc=0,
                on_exit=standby.on_exit,
                nice=standby.nice,
            )
            try:
                process = cls._start(spec, (its.fileno(),))
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        process.standby, process._socket, process._since = standby, ours, now
        return process

    @classmethod
    def _start(cls, spec: ProcessSpec, fds: tuple[int, ...]) -> SpawnedProcess:
        read_fd, write_fd = os.pipe()
        pidfd = -1
        try:
            popen = subprocess.Popen(
                [sys.executable, "-m", spec.module, *spec.arguments(read_fd)],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **spec.env},
                pass_fds=(read_fd, *fds),
                close_fds=True,
                start_new_session=True,
            )
            try:
                pidfd = os.pidfd_open(popen.pid)
                if spec.nice:
                    own = os.getpriority(os.PRIO_PROCESS, 0)
                    os.setpriority(os.PRIO_PROCESS, popen.pid, own + spec.nice)
            except OSError:
                popen.kill()
                popen.wait()
                raise
        except OSError:
            os.close(write_fd)
            if pidfd >= 0:
                os.close(pidfd)
            raise
        finally:
            os.close(read_fd)
        return cls(spec, popen, pidfd, write_fd, read_fd)

    def assign(self, spec: ProcessSpec, now: float) -> bool:
        """Make a standby what ``spec`` describes; False if it cannot become that.

        One that still imports will do: it has begun before a new process could. One that is stopped
        or stuck will not, for nobody may wait for it.
        """
        if self.standby is None or self._socket is None or not self.standby.fits(spec):
            return False
        if process_state(self.popen.pid) not in ("R", "S", "D"):
            return False
        if not self._is_ready() and now - self._since > STANDBY_READY_S:
            return False
        command = json.dumps([spec.module, *spec.arguments(self._child_death_fd)]).encode()
        try:
            taken = self._socket.send(command) == len(command)
            # Not closed: what it still says to us must not become an error on its side.
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        if taken:
            self.spec, self.standby = spec, None
        return taken

    def close_death_pipe(self) -> None:
        """Let the process read EOF."""
        if self._death_fd is not None:
            os.close(self._death_fd)
            self._death_fd = None

    def close(self) -> None:
        """Release what we hold of a process that is gone."""
        os.close(self.pidfd)
        self.close_death_pipe()
        if self._socket is not None:
            self._socket.close()

    def _is_ready(self) -> bool:
        if not self._ready and self._socket is not None:
            try:
                self._ready = bool(self._socket.recv(1))
            except OSError:
                self._ready = False
        return self._ready
