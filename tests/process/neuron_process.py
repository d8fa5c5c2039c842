"""A whole small neuron as a process of its own, so that a test can stop or kill it.

Its directory is its argument and the test's to remove: one that is killed leaves its sockets there.
Prints the ranks' pids, then one line for each line it reads: the outcome of a step.
"""

from __future__ import annotations

import sys
from pathlib import Path

from neuron_runtime.outcome import Ok
from tests.process.neuron import Neuron
from tests.process.steps import one_token_step


def main() -> None:
    neuron = Neuron(Path(sys.argv[1]))
    epoch = neuron.ready_group(2)
    print(*(handle.pid for handle in epoch.handles), flush=True)
    for number, _ in enumerate(sys.stdin):
        good = isinstance(epoch.execute(one_token_step(number)), Ok)
        print("ok" if good else "failed", len(epoch.kills), flush=True)
    epoch.end()
    neuron.close()


if __name__ == "__main__":
    main()
