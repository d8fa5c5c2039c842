"""Nothing of the HTTP server outlives its daemon, and no worker outlives its arbiter.

The daemon holds the write end of the death pipe. It also closes it to ask for an orderly end, so
EOF means: stop within the grace; and stop at once when the daemon is gone as well. The arbiter
holds the write end of a pipe of its own for its workers.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn, final

from neuron_runtime.exit_codes import ExitCode

_LOOK_S: Final = 0.05
_EXTRA_S: Final = 2.0


@final
class DeathWatch:
    """Create it in the arbiter, before it forks."""

    def __init__(self, death_fd: int, grace_s: float) -> None:
        self._death_fd = death_fd
        self._patience_s = grace_s + _EXTRA_S
        self._daemon = os.getppid()
        self._arbiter_gone, self._arbiter_alive = os.pipe()

    def watch_daemon(self) -> None:
        """Watch on a thread. Arbiter only."""
        _start(self._watch_daemon)

    def watch_arbiter(self) -> None:
        """Watch on a thread. Workers only, first thing after the fork."""
        os.close(self._arbiter_alive)
        _start(self._watch_arbiter)

    def _watch_daemon(self) -> NoReturn:
        _await_eof(self._death_fd)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        until = time.monotonic() + self._patience_s
        look = threading.Event()
        while os.getppid() == self._daemon and time.monotonic() < until:
            look.wait(_LOOK_S)
        os._exit(ExitCode.PARENT_LOST)

    def _watch_arbiter(self) -> NoReturn:
        # The daemon's pipe is the second line, for an arbiter that hangs.
        # Not select(2): a daemon with many links hands down a descriptor that is too large for it.
        ends = select.poll()
        for fd in (self._arbiter_gone, self._death_fd):
            ends.register(fd, select.POLLIN)
        if self._arbiter_gone not in (fd for fd, _ in ends.poll()):
            ends.unregister(self._death_fd)
            ends.poll(1000 * self._patience_s)
        os._exit(ExitCode.PARENT_LOST)


def _start(target: Callable[[], NoReturn]) -> None:
    threading.Thread(target=target, name="death-watch", daemon=True).start()


def _await_eof(fd: int) -> None:
    while os.read(fd, 1):
        pass
