"""A real server process of the HTTP front end, started as a daemon would start it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.eventually import eventually


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(endpoint: str, port: int, death_fd: int, *more: str) -> list[str]:
    """Return the command line of a small server."""
    return [
        sys.executable,
        "-m",
        "cortex_actors.http.server",
        "--service=neuron",
        f"--daemon-endpoint={endpoint}",
        f"--listen=127.0.0.1:{port}",
        "--workers=1",
        "--threads=8",
        "--drain-s=3",
        f"--death-fd={death_fd}",
        *more,
    ]


class ServerProcess:
    """The arbiter, its worker, and the write end of their death pipe."""

    def __init__(self, endpoint: str, *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close
        read_fd, self._alive = os.pipe()
        try:
            self.popen = subprocess.Popen(
                command(endpoint, self.port, read_fd, *more),
                pass_fds=[read_fd],
                stderr=self._log,
            )
        finally:
            os.close(read_fd)

    def await_ready(self) -> None:
        """Wait until a worker serves and has heard from the daemon."""
        eventually(lambda: self.status("/ready") == 200, 20.0, "the server is ready")

    def await_alive(self) -> None:
        """Wait until a worker serves, whether it knows a daemon or not."""
        eventually(lambda: self.status("/health") == 200, 20.0, "the server lives")

    def status(self, path: str) -> int | None:
        """Return the HTTP status of a GET, None when nobody answers."""
        try:
            # There is no TLS here, and reading all certificates takes longer than the request.
            answer = httpx.get(self.url + path, timeout=5.0, trust_env=False, verify=False)
        except httpx.TransportError:
            return None
        return answer.status_code

    def processes(self) -> list[psutil.Process]:
        """Return the arbiter and its workers."""
        arbiter = psutil.Process(self.popen.pid)
        return [arbiter, *arbiter.children(recursive=True)]

    def log(self) -> str:
        """Return what it wrote to stderr so far."""
        self._log.seek(0)
        return self._log.read().decode()

    def close_death_pipe(self) -> None:
        """Do what a daemon does to end it, or what the kernel does when the daemon dies."""
        with contextlib.suppress(OSError):
            os.close(self._alive)

    def close(self) -> None:
        """Kill what is left."""
        if self.popen.poll() is None:
            for process in self.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.popen.wait(10.0)
        self.close_death_pipe()
        self._log.close()


@contextmanager
def server_process(endpoint: str, *more: str) -> Iterator[ServerProcess]:
    """Run a server."""
    server = ServerProcess(endpoint, *more)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder whose path leaves room for an ipc address."""
    with tempfile.TemporaryDirectory(prefix="cx-") as folder:
        yield Path(folder)
