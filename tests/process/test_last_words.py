"""What a process said before it left is heard, even by a daemon that reads it only afterwards."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.launcher import ProcessExit, ProcessHandle, ProcessSpec
from tests.process.engine_process import Handler
from tests.process.neuron import WAIT_S, Neuron
from transports.failures import FailureCode
from transports.link import Link
from transports.schemas.body import Body
from transports.schemas.link import Failure

pytestmark = pytest.mark.process


@pytest.fixture
def neuron(lone_neuron: Neuron) -> Neuron:
    return lone_neuron


class BusyDaemon(Handler):
    """Does nothing from a child's HELLO on until that child is gone."""

    def __init__(self) -> None:
        self.handles: queue.SimpleQueue[ProcessHandle] = queue.SimpleQueue()
        self.heard: queue.SimpleQueue[Body | str] = queue.SimpleQueue()

    def on_up(self, link: Link) -> None:
        child = self.handles.get(timeout=WAIT_S)
        assert child.exited.wait(WAIT_S)

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        self.heard.put(body)

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        self.heard.put(reason)


@pytest.mark.parametrize("attempt", range(5))
def test_a_converters_verdict_outlives_it(neuron: Neuron, attempt: int) -> None:
    daemon = BusyDaemon()
    endpoint = f"ipc://{neuron.directory}/daemon.ipc"
    neuron.reactor.listen(endpoint, neuron.me, daemon)
    ended: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
    arguments = {
        "boot": neuron.mint.boot,
        "parent": endpoint,
        "source": f"file://{neuron.directory}/absent-{attempt}.gguf",
        "cache-dir": Path(neuron.directory),
    }
    spec = ProcessSpec(
        "converter",
        "neuron_runtime.converter_main",
        tuple(f"--{key}={value}" for key, value in arguments.items()),
        slot=1,
        inc=1,
        on_exit=ended.put,
    )
    daemon.handles.put(neuron.launcher.spawn(spec))

    assert ended.get(timeout=WAIT_S).exit_reason.returncode == ExitCode.OK
    verdict = daemon.heard.get(timeout=WAIT_S)
    assert isinstance(verdict, Failure)
    assert verdict.code == FailureCode.SOURCE_NOT_FOUND
    assert daemon.heard.get(timeout=WAIT_S) == "done"
