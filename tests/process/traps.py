"""Has a process of a fleet fail at an exact place (see ``trapped/sitecustomize.py``)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.eventually import eventually
from tests.process.serving_fleet import READY_S

RAISE, KILL, STOP = "raise", "kill", "stop"


class Traps:
    """The traps of all processes that are started with ``environment``."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "trap"
        self._caught = self._file.with_suffix(".caught")
        self.clear()
        folder = Path(__file__).parent / "trapped"
        known = os.environ.get("PYTHONPATH", "")
        self.environment = {
            "CORTEX_TRAP": str(self._file),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.getcwd(), known))),
        }

    def set(self, how: str, where: str = "", *, within: Iterable[psutil.Process]) -> None:
        """Have these processes, and what is copied from them, fail at ``where``, or at once."""
        self._order({"how": how, "where": where})
        for process in within:
            process.send_signal(signal.SIGUSR2)

    def set_at_start(self, how: str, where: Mapping[str, str]) -> None:
        """Have processes fail that are started with a word of ``where``, there."""
        self._order({"how": how, "at_start": where})

    def clear(self, within: Iterable[psutil.Process] = ()) -> None:
        """Set no more, and take away what is set in these."""
        self._order({})
        self._caught.write_text("")
        for process in within:
            process.send_signal(signal.SIGUSR2)

    def caught(self, count: int = 1) -> list[int]:
        """Wait until so many processes are caught; return their ids."""
        eventually(lambda: self._caught.read_text().count("\n") >= count, READY_S)
        return sorted(int(pid) for pid in self._caught.read_text().split())

    def _order(self, orders: dict[str, Any]) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(orders))
        new.replace(self._file)
