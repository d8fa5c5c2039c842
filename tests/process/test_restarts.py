"""Two hundred lives of a rank leave nothing behind."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import psutil
import pytest

from cortex_actors.neuron.fork_server import fork_server_spec
from neuron_runtime.launcher import Launcher
from neuron_runtime.outcome import Ok
from tests.eventually import eventually
from tests.process.neuron import WAIT_S, Epoch, Neuron
from tests.process.steps import answer_to, one_token_step

pytestmark = pytest.mark.process

WARM_UP, RESTARTS = 20, 200
RSS_SLACK_BYTES = 4 << 20


def live_and_die(neuron: Neuron, number: int) -> None:
    epoch = Epoch(neuron, 1, {})
    assert isinstance(epoch.load(), Ok)
    assert epoch.execute(one_token_step(number)) == answer_to(number, 1)
    epoch.handles[0].kill()
    assert epoch.broken.wait(WAIT_S)
    epoch.end()


def footprint() -> tuple[int, int, int]:
    """Open descriptors, threads and child processes of ours."""
    children = psutil.Process().children(recursive=True)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)


@pytest.mark.timeout(400)
def test_restarts_give_back_descriptors_threads_processes_and_memory(lone_neuron: Neuron) -> None:
    neuron, launcher = lone_neuron, lone_neuron.launcher
    assert isinstance(launcher, Launcher)
    spec = fork_server_spec("fake", True, lambda _: None)
    assert spec is not None
    launcher.preload(spec)
    eventually(lambda: launcher.fork_server is not None, WAIT_S)
    for number in range(WARM_UP):
        live_and_die(neuron, number)
    gc.collect()
    before, rss_before = footprint(), psutil.Process().memory_info().rss
    for number in range(RESTARTS):
        live_and_die(neuron, number)
    gc.collect()
    rss = psutil.Process().memory_info().rss

    assert footprint() == before
    assert rss <= rss_before * 1.02 + RSS_SLACK_BYTES
    assert list(Path(neuron.directory).iterdir()) == []
