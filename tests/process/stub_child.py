"""A child that does as it is told: ``--mode idle``, ``deaf``, ``exit:N``, ``aborts`` or ``hangs``.

The last two are stuck in native code; what is left to do then is done, or takes for ever.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence

from neuron_runtime import last_act
from neuron_runtime.child import ChildProcess


def deaf(arguments: argparse.Namespace) -> None:
    """Ignore SIGTERM and the death pipe."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    arguments.ready_fd = os.dup(arguments.death_fd)


def abort(arguments: argparse.Namespace) -> None:
    """What a rank does with its communicator."""
    with open(arguments.ready, "w") as ready:
        ready.write("aborted")
    if arguments.mode == "hangs":
        # Holds the GIL.
        ctypes.PyDLL(None).pause()


def prepare(argv: Sequence[str]) -> None:
    """``fail`` is not importable; ``never`` is not done before it is killed."""
    if "fail" in argv:
        raise ImportError("fail")
    if "never" in argv:
        threading.Event().wait()


def main(argv: Sequence[str] | None = None) -> int:
    parser = ChildProcess.parser("stub")
    parser.add_argument("--mode", default="idle")
    parser.add_argument("--ready", default="")
    arguments = parser.parse_args(argv)
    if arguments.mode.startswith("exit:"):
        sys.exit(int(arguments.mode.removeprefix("exit:")))
    if arguments.mode == "deaf":
        deaf(arguments)
    else:
        ChildProcess.begin(arguments)
    if arguments.mode in ("aborts", "hangs"):
        last_act.at_end(lambda: abort(arguments))
    if arguments.ready:
        with open(arguments.ready, "w") as ready:
            ready.write(f"{os.environ.get('STUB', '')} {os.nice(0)}")
    if arguments.mode in ("aborts", "hangs"):
        ctypes.CDLL(None).pause()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    main()
