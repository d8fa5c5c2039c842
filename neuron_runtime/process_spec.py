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

    def arguments(self) -> list[str]:
        """Return what ``module`` is given on its command line, before ``--death-fd``."""
        return [*self.args, "--slot", f"{self.slot}", "--inc", f"{self.inc}", "--name", self.name]


@dataclass(frozen=True, slots=True)
class ForkServerSpec:
    """A process to make others from: its copies run ``modules``; it imports those and ``imports``.

    ``on_exit`` is told of the server's own end, with slot and incarnation 0.
    """

    modules: tuple[str, ...]
    imports: tuple[str, ...]
    on_exit: OnExit
