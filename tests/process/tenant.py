"""One launcher for many tests, whose processes are copies as those of a daemon are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, final

from cortex_actors.neuron.fork_server import fork_server_spec
from neuron_runtime.launcher import ForkServerSpec, Launcher, ProcessHandle, ProcessSpec

STOP_S = 15.0
STUB = "tests.process.stub_child"


class Spawner(Protocol):
    """What tests need of a launcher."""

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        """Start a process."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Kill what is left; returns whether it is gone."""
        ...


@final
class Tenant:
    """A ``Spawner`` that answers for the processes of one test."""

    fork_server: ProcessHandle | None = None
    """None of its own: a daemon's actor has nothing to end."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._handles: list[ProcessHandle] = []

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        """Start a process."""
        handle = self._launcher.spawn(spec)
        self._handles.append(handle)
        return handle

    def stop(self, timeout_s: float) -> bool:
        """Kill what is left; once it is gone nobody is told of any end any more."""
        for handle in self._handles:
            handle.kill()
        gone = all(handle.exited.wait(timeout_s) for handle in self._handles)
        told = threading.Event()
        self._launcher.call(told.set)
        return told.wait(timeout_s) and gone


@contextmanager
def copying_launcher() -> Iterator[Launcher]:
    """A launcher that has done what engines and ranks of the fake backend import, and stubs."""
    spec = fork_server_spec("fake", True, lambda _: None)
    assert spec is not None
    launcher = Launcher()
    launcher.preload(ForkServerSpec((*spec.modules, STUB), spec.imports, spec.on_exit))
    yield launcher
    assert launcher.stop(STOP_S)
