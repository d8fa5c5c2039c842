"""The launcher's end of its fork server: what is asked of it, and what it owes.

Requests and replies are JSON in datagrams of a socket pair, answered in order; a request carries
the read end of the copy's death pipe. A copy belongs to the launcher once its reply is read.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, final

import msgspec

from neuron_runtime.process_spec import ForkServerSpec, ProcessSpec
from neuron_runtime.spawned_process import SpawnedProcess
from neuron_runtime.stopped import process_state

REQUEST_BYTES: Final = 65536
IMPORTS_S: Final = 20.0
"""From its start, after which a server that has imported nothing yet is taken for stuck."""
FORK_S: Final = 5.0
"""After which a server that has its imports and does not answer is."""
# A copy shows its own command line in the room that the server's took.
_COMMAND_LINE_ROOM: Final = 1536
_PR_SET_CHILD_SUBREAPER: Final = 36


class ForkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Make a copy that runs ``main`` of the module that ``command`` begins with."""

    command: list[str]
    env: dict[str, str] = {}
    nice: int = 0


class ForkReply(msgspec.Struct, frozen=True):
    """A copy's process id; or 0, and what kept it from being made, or that the imports are done."""

    pid: int = 0
    error: str = ""
    ready: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A process that somebody waits for."""

    spec: ProcessSpec
    started: Future[Any]
    death_fd: int
    """The write end of its death pipe."""


@final
class ForkServer:
    """One fork server from its start to its end. Launcher's thread only.

    Args:
        spec: What it imports.
        process: The server's own process.
        channel: Our end of the socket pair; readable when there are replies.
        now: When it was started, in seconds of the monotonic clock.
    """

    def __init__(
        self, spec: ForkServerSpec, process: SpawnedProcess, channel: socket.socket, now: float
    ) -> None:
        self.process = process
        self.channel = channel
        self.wake_at: float | None = None
        """When it will be stuck unless it has answered."""
        self._spec = spec
        self._imports_until: float | None = now + IMPORTS_S
        self._asked: deque[Asked] = deque()

    @classmethod
    def start(cls, spec: ForkServerSpec, now: float) -> ForkServer:
        """Execute the server; it imports first, and answers then.

        Raises:
            OSError: The operating system refused.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with its:
            args = (
                *(f"--import={each}" for each in (*spec.modules, *spec.imports)),
                f"--socket-fd={its.fileno()}",
                " " * _COMMAND_LINE_ROOM,
            )
            own = ProcessSpec(
                "fork_server", "neuron_runtime.fork_server_main", args, 0, 0, spec.on_exit
            )
            try:
                return cls(spec, SpawnedProcess.start(own, (its.fileno(),)), ours, now)
            except OSError:
                ours.close()
                raise

    def ask(self, spec: ProcessSpec, started: Future[Any], now: float) -> bool:
        """Ask for a copy that becomes what ``spec`` says; False if it has to be executed instead.

        A server that still imports will do: it has begun before a new process could.
        """
        if spec.module not in self._spec.modules or process_state(self.process.pid) in "TtZX":
            return False
        request = ForkRequest(
            command=[spec.module, *spec.arguments()], env=dict(spec.env), nice=spec.nice
        )
        try:
            message = msgspec.json.encode(request)
            read_fd, write_fd = os.pipe()
        except (OSError, ValueError):
            # ValueError: a path that is not UTF-8, which a command line can hold.
            return False
        self._adopt_orphans(True)
        try:
            socket.send_fds(self.channel, [message], [read_fd])
        except OSError:
            os.close(write_fd)
            self._adopt_orphans(bool(self._asked))
            return False
        finally:
            os.close(read_fd)
        self._asked.append(Asked(spec, started, write_fd))
        self._await_reply(now)
        return True

    def replies(self, now: float) -> list[tuple[Asked, ForkReply]]:
        """Read what the server has answered, in the order in which it was asked."""
        answered: list[tuple[Asked, ForkReply]] = []
        with suppress(BlockingIOError, ConnectionError):
            while data := self.channel.recv(REQUEST_BYTES):
                reply = msgspec.json.decode(data, type=ForkReply)
                if reply.ready:
                    self._imports_until = None
                else:
                    answered.append((self._asked.popleft(), reply))
        self._await_reply(now)
        self._adopt_orphans(bool(self._asked))
        return answered

    def close(self) -> tuple[Asked, ...]:
        """Let go of a server whose process is gone; returns what it owes."""
        owed = tuple(self._asked)
        self._asked.clear()
        self._adopt_orphans(False)
        self.channel.close()
        return owed

    def _await_reply(self, now: float) -> None:
        self.wake_at = (self._imports_until or now + FORK_S) if self._asked else None

    @staticmethod
    def _adopt_orphans(adopt: bool) -> None:
        # Only while a copy is on its way: orphans of other children are not ours to reap.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
