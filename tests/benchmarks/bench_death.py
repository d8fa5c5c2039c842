"""From kill -9 of a rank to its death notice, and to a group that is ready again.

``python -m tests.benchmarks.bench_death``; fake backend, two ranks, no backoff. Gates: notice p99
<= 50 ms, ready again <= 1 s (median).
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from neuron_runtime.launcher import Launcher, ProcessExit, ProcessSpec
from tests.process.neuron import WAIT_S, Neuron

DEATHS, RECOVERIES = 100, 15
NOTICE_GATE_S, READY_GATE_S = 0.050, 1.0


def notices(directory: Path) -> list[float]:
    """Seconds from the signal to the owner's callback, for idle children."""
    launcher = Launcher()
    took = []
    for number in range(DEATHS):
        ready = directory / f"ready-{number}"
        told = threading.Event()
        told_at = [0.0]

        def on_exit(
            _: ProcessExit, told: threading.Event = told, at: list[float] = told_at
        ) -> None:
            at[0] = time.perf_counter()
            told.set()

        args = ("--boot", "1", "--parent", "none", "--ready", f"{ready}")
        module = "tests.process.stub_child"
        child = launcher.spawn(ProcessSpec("stub", module, args, 1, number + 1, on_exit))
        pause = threading.Event()
        while not ready.exists():
            pause.wait(0.002)
        begun = time.perf_counter()
        os.kill(child.pid, signal.SIGKILL)
        assert told.wait(WAIT_S)
        took.append(told_at[0] - begun)
    launcher.stop()
    return took


def recoveries(directory: Path) -> list[float]:
    """Seconds from the signal to the next epoch's READY, the former being reaped first."""
    neuron = Neuron(directory)
    epoch = neuron.ready_group()
    took = []
    for _ in range(RECOVERIES):
        begun = time.perf_counter()
        os.kill(epoch.handles[1].pid, signal.SIGKILL)
        for handle in epoch.handles:
            assert handle.exited.wait(WAIT_S)
        neuron.on_reactor(epoch.driver.close)
        epoch = neuron.ready_group()
        took.append(time.perf_counter() - begun)
    epoch.end()
    neuron.close()
    return took


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        notice = sorted(notices(Path(directory)))
        ready = recoveries(Path(directory))
    p99 = notice[int(len(notice) * 0.99) - 1]
    median_ms = statistics.median(notice) * 1e3
    print(f"kill -9 to death notice: median {median_ms:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    again = statistics.median(ready)
    print(f"kill -9 to ready again: median {again * 1e3:.0f} ms, worst {max(ready) * 1e3:.0f} ms")
    return int(p99 > NOTICE_GATE_S or again > READY_GATE_S)


if __name__ == "__main__":
    sys.exit(main())
