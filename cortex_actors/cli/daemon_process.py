"""A daemon as a child of the demo: started in a session of its own, watched, stopped, or killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import final

_LAST_LINES = 15
_READ_BYTES = 16_384


@final
class DaemonProcess:
    """One running daemon whose output goes to ``log``.

    It has a session of its own, so Ctrl-C in the terminal reaches only the demo, which stops the
    daemons in order.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that killed it."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to end in order; returns at once."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended within ``timeout_s``."""
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and every process of its session group now."""
        if self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def last_lines(self) -> str:
        """Return the end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _READ_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-_LAST_LINES:])
