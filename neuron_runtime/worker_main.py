"""Entry of a rank's process: ``python -m neuron_runtime.worker_main``."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from neuron_runtime.backends.base import Backend
from neuron_runtime.child import Begin, ChildProcess
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.faults import Faults, UnknownFault
from neuron_runtime.worker_loop import WorkerLoop
from transports.reactor import Reactor

_log = logging.getLogger("cortex.worker")


def main(argv: Sequence[str] | None = None, begin: Begin = ChildProcess.begin) -> ExitCode:
    """Serve the engine until the link to it ends; return how that went. Main thread."""
    parser = ChildProcess.parser("One rank of a tensor-parallel group.")
    _add_backend(parser)
    parser.add_argument("--connect-s", type=float, default=30.0)
    arguments = parser.parse_args(argv)
    child = begin(arguments)
    try:
        faults = Faults.from_environment(os.environ)
        backend = _create(arguments.backend, faults)
    except UnknownFault:
        _log.exception("bad configuration")
        return ExitCode.CONFIG
    except ImportError:
        _log.exception("no backend name=%s", arguments.backend)
        return ExitCode.BACKEND_UNAVAILABLE
    reactor = Reactor(child.name)
    me = child.identity("rank")
    loop = WorkerLoop(reactor, me, backend, faults, connect_s=arguments.connect_s)
    loop.connect(child.parent)
    reactor.run()
    backend.close()
    return loop.exit_code


def prepare(argv: Sequence[str]) -> None:
    """Import what a rank with these arguments needs, before it is known which rank that is.

    Raises:
        ImportError: The backend is not installed.
    """
    parser = argparse.ArgumentParser()
    _add_backend(parser)
    if parser.parse_args(argv).backend == "torch":
        _import_torch()


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=("torch", "fake", "script"), default="torch")


def _create(name: str, faults: Faults) -> Backend:
    if name == "fake":
        from neuron_runtime.backends.fake import FakeBackend  # noqa: PLC0415 - only when chosen

        return FakeBackend(on_collective=faults.in_collective)
    if name == "script":
        from neuron_runtime.backends.fake import FakeBackend  # noqa: PLC0415 - only when chosen
        from neuron_runtime.backends.script import ScriptVoice  # noqa: PLC0415 - only when chosen

        return FakeBackend(on_collective=faults.in_collective, voice=ScriptVoice())
    _import_torch()
    from neuron_runtime.torch_backend.rank import TorchRank  # noqa: PLC0415 - imports torch

    return TorchRank(on_collective=faults.in_collective)


def _import_torch() -> None:
    # PERF: with OpenMP's default of spinning, a core that anything else needs makes all threads of
    # a rank spin for it: 0.2 tokens/s instead of 14 beside three busy processes
    # (docs/performance.md). libgomp reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # PERF: what is imported stays; looking for garbage in it takes 0.5 s of a 3 s import.
    gc.disable()
    importlib.import_module("neuron_runtime.torch_backend.rank")
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # A native library's threads or exit handlers must not be able to hold the end up.
    os._exit(code)
