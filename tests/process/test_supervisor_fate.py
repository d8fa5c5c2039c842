"""What becomes of ranks when the process that owns them is killed or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_runtime.stopped import process_state
from tests.eventually import eventually

pytestmark = pytest.mark.process


class NeuronProcess:
    """The neuron of ``neuron_process`` and its ranks' pids."""

    def __init__(self, directory: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.process.neuron_process", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ranks = [int(pid) for pid in self._line().split()]

    def step(self) -> str:
        """Run a step; return ``ok`` or ``failed``, and how many ranks were killed so far."""
        assert self.popen.stdin
        self.popen.stdin.write("step\n")
        self.popen.stdin.flush()
        return self._line()

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()

    def _line(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()


@pytest.fixture
def neuron_process(directory: Path) -> Iterator[NeuronProcess]:
    process = NeuronProcess(directory)
    yield process
    process.close()


def gone(pid: int) -> bool:
    return process_state(pid) in ("", "Z")


def test_no_rank_survives_the_kill_of_its_launcher(neuron_process: NeuronProcess) -> None:
    assert neuron_process.step() == "ok 0"
    neuron_process.popen.kill()

    eventually(lambda: all(gone(pid) for pid in neuron_process.ranks), 5.0)


def test_a_stopped_rank_does_not_survive_it_either(neuron_process: NeuronProcess) -> None:
    for pid in neuron_process.ranks:
        os.kill(pid, signal.SIGSTOP)
    neuron_process.popen.kill()

    eventually(lambda: all(gone(pid) for pid in neuron_process.ranks), 5.0)


def test_nobody_is_killed_because_the_supervisor_was_stopped_for_10_s(
    neuron_process: NeuronProcess,
) -> None:
    assert neuron_process.step() == "ok 0"
    neuron_process.popen.send_signal(signal.SIGSTOP)
    threading.Event().wait(10.0)
    neuron_process.popen.send_signal(signal.SIGCONT)

    assert [neuron_process.step() for _ in range(3)] == ["ok 0"] * 3
    assert not any(gone(pid) for pid in neuron_process.ranks)
