"""Entry of a rank's process: ``python -m neuron_runtime.worker_main``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from neuron_runtime.backends.base import Backend
from neuron_runtime.child import ChildProcess
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.faults import Faults, UnknownFault
from neuron_runtime.frozen_imports import import_frozen
from neuron_runtime.worker_loop import WorkerLoop
from transports.reactor import Reactor

_log = logging.getLogger("cortex.worker")


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Serve the engine until the link to it ends; return how that went. Main thread."""
    parser = ChildProcess.parser("One rank of a tensor-parallel group.")
    parser.add_argument("--backend", choices=("torch", "fake", "script"), default="torch")
    parser.add_argument("--connect-s", type=float, default=30.0)
    arguments = parser.parse_args(argv)
    child = ChildProcess.begin(arguments)
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
    if loop.exit_code is not ExitCode.DEVICE_LOST:
        backend.close()
    return loop.exit_code


def _create(name: str, faults: Faults) -> Backend:
    if name == "fake":
        from neuron_runtime.backends.fake import FakeBackend  # noqa: PLC0415 - only when chosen

        return FakeBackend(on_collective=faults.in_collective)
    if name == "script":
        from neuron_runtime.backends.fake import FakeBackend  # noqa: PLC0415 - only when chosen
        from neuron_runtime.backends.script import ScriptVoice  # noqa: PLC0415 - only when chosen

        return FakeBackend(on_collective=faults.in_collective, voice=ScriptVoice())
    import_frozen(["neuron_runtime.torch_backend.rank"])
    from neuron_runtime.torch_backend.rank import TorchRank  # noqa: PLC0415 - imports torch

    return TorchRank(on_collective=faults.in_collective)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # A native library's threads or exit handlers must not be able to hold the end up.
    os._exit(code)
