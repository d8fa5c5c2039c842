"""What a Launcher is told to start, and what it tells of the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from neuron_runtime.exit_codes import ExitReason


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """A child is gone and reaped; nothing of this incarnation can act any more."""

    slot: int
    inc: int
    pid: int
    exit_reason: ExitReason


OnExit = Callable[[ProcessExit], None]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to start: ``python -m module *args`` in slot ``slot`` as incarnation ``inc``.

    ``--slot --inc --name --death-fd`` are appended to ``args``; ``env`` is added to our own.
    ``on_exit`` runs on the launcher's thread and must not block. ``nice`` is relative to our own.
    """

    name: str
    module: str
    args: tuple[str, ...]
    slot: int
    inc: int
    on_exit: OnExit
    env: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0

    def arguments(self, death_fd: int) -> list[str]:
        """Return what ``module`` is given on its command line."""
        identity = ["--slot", f"{self.slot}", "--inc", f"{self.inc}", "--name", self.name]
        return [*self.args, *identity, "--death-fd", f"{death_fd}"]


@dataclass(frozen=True, slots=True)
class StandbySpec:
    """Processes to have ready: ``count`` that have imported what ``module`` needs.

    ``prepare`` are the arguments on which it depends what that is. ``on_exit`` is told of one that
    ended while it waited, with slot and incarnation 0: a process has none until it is assigned.
    """

    module: str
    prepare: tuple[str, ...]
    count: int
    on_exit: OnExit
    nice: int = 0

    def fits(self, spec: ProcessSpec) -> bool:
        """Say whether a process of ours can become the one that ``spec`` describes."""
        return (
            spec.module == self.module
            and spec.nice == self.nice
            and not spec.env
            and set(self.prepare) <= set(spec.args)
        )
