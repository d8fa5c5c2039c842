"""Processes that compute with torch, as a daemon has them: copies of one that has imported it."""

from __future__ import annotations

import argparse
import queue
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, final

import msgspec

from neuron_runtime.child import ChildProcess
from neuron_runtime.launcher import (
    ForkServerSpec,
    Launcher,
    ProcessExit,
    ProcessHandle,
    ProcessSpec,
)

IMPORTS = ("neuron_runtime.torch_backend.rank", "neuron_runtime.torch_backend.gguf_conversion")
STOP_S = 10.0
Task = TypeVar("Task")


@final
class Copy:
    """One process; ``handle.stop`` closes its death pipe."""

    def __init__(
        self, launcher: Launcher, module: str, name: str, args: tuple[str, ...], number: int
    ) -> None:
        self._ends: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
        spec = ProcessSpec(name, module, args, number, number, self._ends.put)
        self.handle: ProcessHandle = launcher.spawn(spec)

    def wait(self, timeout_s: float) -> int:
        """Return how it has ended, once.

        Raises:
            queue.Empty: It has not.
        """
        return self._ends.get(timeout=timeout_s).exit_reason.returncode


@final
class Copies:
    """A context with the process that others are copies of, which run one of ``modules``."""

    def __init__(self, *modules: str) -> None:
        self._launcher = Launcher("tests")
        self._launcher.preload(ForkServerSpec(modules, IMPORTS, lambda _: None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._launcher.stop(STOP_S)

    def start(self, module: str, name: str, *args: str, number: int = 1) -> Copy:
        """Start ``module.main`` with these arguments and a process's usual ones.

        ``number`` is its slot and its incarnation.
        """
        return Copy(self._launcher, module, name, args, number)

    def work(
        self, module: str, tasks: Sequence[msgspec.Struct], place: Path, timeout_s: float
    ) -> list[bytes]:
        """Have a process of its own do each task, all side by side; return what each reports.

        ``place`` is where tasks and reports are written.
        """
        copies = []
        for number, task in enumerate(tasks):
            (place / f"task-{number}").write_bytes(msgspec.json.encode(task))
            files = (f"--task={place}/task-{number}", f"--report={place}/report-{number}")
            copies.append(self.start(module, f"worker-{number}", *files))
        try:
            assert [copy.wait(timeout_s) for copy in copies] == [0] * len(copies)
        finally:
            for copy in copies:
                copy.handle.kill()
                assert copy.handle.exited.wait(STOP_S)
        return [(place / f"report-{number}").read_bytes() for number in range(len(tasks))]


def read_task(argv: Sequence[str] | None, kind: type[Task]) -> tuple[Task, Path]:
    """Return what the process is to do, and the file that its report goes to. Main thread."""
    parser = argparse.ArgumentParser()
    for name in ("--task", "--report"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--name")
    arguments, _ = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    ChildProcess.settle(arguments.name)
    return msgspec.json.decode(arguments.task.read_bytes(), type=kind), arguments.report
