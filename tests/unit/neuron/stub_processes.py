"""A real launcher that starts stub children in place of engines, ranks and converters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from cortex_actors.kit.process_actor import ProcessSource
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.launcher import ForkServerSpec, Launcher, ProcessHandle, ProcessSpec
from neuron_runtime.stopped import process_state

REAP_S = 10.0


class Unkillable:
    """A process in a state in which no signal reaches it."""

    def __init__(self, handle: ProcessHandle) -> None:
        self.name, self.inc, self.pid = handle.name, handle.inc, handle.pid
        self.exited = threading.Event()
        self.freed = handle
        """The same once the kernel lets go of it."""

    def kill(self, kind: ExitKind = ExitKind.FENCED, notice_s: float = 0.0) -> None:
        """Nothing happens."""

    def stop(self, grace_s: float = 0.0, term_s: float = 0.0) -> None:
        """Nothing happens."""


class StubLauncher:
    """Passes everything on to ``launcher`` but the module; remembers what it started."""

    def __init__(self) -> None:
        self.launcher = Launcher()
        self.handles: list[ProcessHandle] = []
        self.specs: list[ProcessSpec] = []
        self.alive_at_spawn: list[list[str]] = []
        self.mode = "idle"
        self.unkillable = ""
        """The name of those that nothing ends."""

        self.fork_server: ProcessHandle | None = None
        self.preloaded: list[ForkServerSpec] = []

    def preload(self, spec: ForkServerSpec) -> None:
        self.preloaded.append(spec)

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        self.alive_at_spawn.append(self.alive())
        self.specs.append(spec)
        args = ("--boot=1", "--parent=ipc:///none", f"--mode={self.mode}")
        stub = replace(spec, module="tests.process.stub_child", args=args)
        handle = self.launcher.spawn(stub)
        self.handles.append(handle)
        return cast("Any", Unkillable(handle)) if spec.name == self.unkillable else handle

    def alive(self) -> list[str]:
        """Return the names of the children that have not been reaped."""
        return [handle.name for handle in self.handles if process_state(handle.pid)]

    def latest(self, name: str) -> ProcessHandle:
        """Return the last child of this name."""
        return next(handle for handle in reversed(self.handles) if handle.name == name)

    def spawned(self, name: str) -> list[ProcessHandle]:
        """Return all children of this name, oldest first."""
        return [handle for handle in self.handles if handle.name == name]

    def source(self) -> ProcessSource:
        """Return what owners of processes are given."""
        return ProcessSource(cast("Any", self), IncarnationMint(mint_boot()))


@contextmanager
def stub_launcher() -> Iterator[StubLauncher]:
    """A launcher for one test, with which every child ends."""
    launcher = StubLauncher()
    yield launcher
    assert launcher.launcher.stop(REAP_S)
