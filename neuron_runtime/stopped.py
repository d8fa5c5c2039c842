"""Is a busy rank stopped (SIGSTOP, a debugger's freeze)? Pure, but for reading /proc.

A busy rank cannot answer a PING and is judged by its step's deadline. A *stopped* one makes no
progress at all, which the kernel tells us, so that silence counts even while it is busy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

INTERVAL_S = 1.0
STOPPED_FOR_S = 5.0


def process_state(pid: int) -> str:
    """Return the kernel's state letter of ``pid`` (R, S, D, T, Z …), empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat[stat.rindex(")") + 2]


@final
class StoppedWatch:
    """Remembers since when each process has been seen stopped at every look."""

    def __init__(self, stopped_for_s: float = STOPPED_FOR_S) -> None:
        self._stopped_for_s = stopped_for_s
        self._since: dict[int, float] = {}
        self._looked = 0.0

    def look(self, states: Mapping[int, str], now: float) -> tuple[int, ...]:
        """Take the state letters by pid; return the pids that have been stopped for too long.

        A look that comes late by more than an interval proves that we were stopped ourselves: then
        everybody's time starts again.
        """
        if now - self._looked > 2 * INTERVAL_S:
            self._since.clear()
        self._looked = now
        stopped = {pid for pid, state in states.items() if state == "T"}
        self._since = {pid: self._since.get(pid, now) for pid in stopped}
        return tuple(p for p, since in self._since.items() if now - since >= self._stopped_for_s)
