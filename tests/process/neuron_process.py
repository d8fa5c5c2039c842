"""A whole small neuron as a process of its own, so that a test can stop or kill it.

Prints the ranks' pids, then one line for each line it reads: the outcome of a step.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from neuron_runtime.outcome import Ok
from tests.process.neuron import Neuron
from tests.process.steps import one_token_step


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        neuron = Neuron(Path(directory))
        epoch = neuron.ready_group(2)
        print(*(handle.pid for handle in epoch.handles), flush=True)
        for number, _ in enumerate(sys.stdin):
            good = isinstance(epoch.execute(one_token_step(number)), Ok)
            print("ok" if good else "failed", len(epoch.kills), flush=True)
        epoch.end()
        neuron.close()


if __name__ == "__main__":
    main()
