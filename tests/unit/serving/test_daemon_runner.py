"""A daemon's main thread, in a process of its own: signals, the tree's end, the directory."""

from __future__ import annotations

import os
import queue
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neuron_runtime.exit_codes import ExitCode
from tests.eventually import eventually
from tests.unit.serving import runner_main

pytestmark = pytest.mark.process
WAIT_S = 15.0


class Daemon:
    """One run of ``runner_main``."""

    def __init__(self, directory: Path, mode: str) -> None:
        # As most systems start it.
        command = ["sh", "-c", 'ulimit -Sn 1024 && exec "$@"', "sh"]
        command += [sys.executable, "-m", runner_main.__name__, str(directory), mode]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.words: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.words.put(line.strip())

    def expect(self, word: str) -> None:
        assert self.words.get(timeout=WAIT_S) == word

    def end(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)

    def code(self) -> int:
        return self.process.wait(WAIT_S)


@contextmanager
def daemon(directory: Path, mode: str) -> Iterator[Daemon]:
    running = Daemon(directory, mode)
    try:
        yield running
    finally:
        running.end()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_in_order(tmp_path: Path, signum: signal.Signals) -> None:
    with daemon(tmp_path, "serve") as running:
        running.expect("started")
        assert (tmp_path / "daemon").is_dir()
        os.kill(running.process.pid, signum)
        running.expect("draining")
        running.expect("stopped")

        assert running.code() == ExitCode.OK
    assert not (tmp_path / "daemon").exists()


def test_a_daemon_uses_all_descriptors_that_it_may_have(tmp_path: Path) -> None:
    with daemon(tmp_path, "serve") as running:
        running.expect("started")
        soft, hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)

        assert soft == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_second_signal_waits_for_no_actor(tmp_path: Path) -> None:
    with daemon(tmp_path, "hang") as running:
        running.expect("started")
        running.process.terminate()
        running.expect("draining")
        running.expect("hanging")
        running.process.terminate()

        assert running.code() == ExitCode.INTERNAL
    assert not (tmp_path / "daemon").exists()


def test_a_third_signal_ends_it_whatever_hangs(tmp_path: Path) -> None:
    with daemon(tmp_path, "stuck") as running:
        running.expect("started")
        running.process.terminate()
        running.expect("draining")

        def insist() -> bool:
            running.process.terminate()
            return running.process.poll() is not None

        # Two that wait at once are one.
        eventually(insist, WAIT_S)
        assert running.code() == ExitCode.INTERNAL


def test_a_tree_that_ends_by_itself_ends_the_daemon(tmp_path: Path) -> None:
    with daemon(tmp_path, "fail") as running:
        assert running.code() == ExitCode.INTERNAL
    assert not (tmp_path / "daemon").exists()


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "daemon").write_text("in the way")
    with daemon(tmp_path, "serve") as running:
        assert running.code() == ExitCode.CONFIG


def test_a_hangup_reloads_and_serving_goes_on(tmp_path: Path) -> None:
    with daemon(tmp_path, "serve") as running:
        running.expect("started")
        for _ in range(2):
            os.kill(running.process.pid, signal.SIGHUP)
            running.expect("reloading")
        running.process.terminate()
        running.expect("draining")
        running.expect("stopped")

        assert running.code() == ExitCode.OK
