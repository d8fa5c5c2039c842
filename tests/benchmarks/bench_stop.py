"""From SIGSTOP of a rank to the verdict on it, idle and in a step; fake backend, two ranks.

``python -m tests.benchmarks.bench_stop``. Gate: every verdict falls 5 to 6.5 s after the signal. An
idle rank is judged by its silence, a busy one by the kernel's word that it is stopped.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.process.neuron import WAIT_S, Epoch, Neuron
from tests.process.steps import one_token_step

ROUNDS = 5
EARLIEST_S, LATEST_S = 5.0, 6.5
LONG_S = 600.0


def judged_s(neuron: Neuron, number: int, *, busy: bool) -> float:
    """Seconds from the signal until the engine had the group called broken."""
    epoch: Epoch = neuron.ready_group()
    rank = number % 2
    begun = time.perf_counter()
    os.kill(epoch.handles[rank].pid, signal.SIGSTOP)
    if busy:
        epoch.execute_later(one_token_step(number), LONG_S)
    assert epoch.broken.wait(WAIT_S)
    took = time.perf_counter() - begun
    assert f"rank {rank}" in epoch.broken_message
    epoch.end()
    return took


def main() -> int:
    missed = False
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        neuron = Neuron(Path(directory))
        for busy in (False, True):
            took = [judged_s(neuron, number, busy=busy) for number in range(ROUNDS)]
            missed |= not all(EARLIEST_S <= seconds <= LATEST_S for seconds in took)
            print(
                f"SIGSTOP to verdict, {'in a step' if busy else 'idle'}:"
                f" median {statistics.median(took):.2f} s,"
                f" {min(took):.2f} to {max(took):.2f} s"
            )
        neuron.close()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
