"""The life of a daemon's main thread: threads up, tree up, wait, tree down, threads down (G10)."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Protocol, final

from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.daemon_tree import Ground
from cortex_actors.serving.runtime_dir import RuntimeDir, RuntimeDirError
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.launcher import Launcher
from transports.reactor import Reactor

_log = logging.getLogger("cortex.daemon")

TREE_STOP_S = 60.0
THREAD_STOP_S = 3.0


class Tree(Protocol):
    """A daemon's actor tree."""

    def start(self) -> ActorRef:
        """Start Root."""
        ...

    def begin_drain(self) -> None:
        """Turn readiness off and grant nothing new."""
        ...

    def reload(self) -> None:
        """Read again what can be read again while running; returns at once."""
        ...


Build = Callable[[Ground], Tree]


@final
class DaemonRunner:
    """Runs one tree in this process until a signal or Root's own end.

    The first SIGTERM or SIGINT stops in order; a second one kills what is left. SIGHUP reloads.
    """

    def __init__(self, name: str, directory: RuntimeDir, log_level: str) -> None:
        self._name = name
        self._directory = directory
        self._log_level = log_level
        # Not an Event: its lock is not reentrant, and a signal may come while this thread holds it.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True for a reload, False for the end."""

        self._signals = 0

    def run(self, build: Build) -> int:
        """Build the tree, serve, take it down; returns the process's exit code."""
        logging.basicConfig(
            level=self._log_level.upper(),
            stream=sys.stderr,
            format=f"%(asctime)s %(levelname)s {self._name}[%(process)d] %(name)s %(message)s",
        )
        os.environ["CORTEX_LOG_LEVEL"] = self._log_level
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        try:
            path = self._directory.create()
        except RuntimeDirError as error:
            _log.error("%s", error)
            return ExitCode.CONFIG
        reactor = Reactor("reactor")
        reactor.start()
        launcher = Launcher()
        source = ProcessSource(launcher, IncarnationMint(mint_boot()))
        try:
            return self._serve(build(Ground(reactor, source, path)))
        finally:
            launcher.stop(THREAD_STOP_S)
            reactor.stop()
            reactor.join(THREAD_STOP_S)
            self._directory.remove()
            _log.info("stopped")

    def _serve(self, tree: Tree) -> int:
        root = tree.start()
        root.exit.on_done(lambda _: self._wake.put(False))
        while self._wake.get():
            tree.reload()
        if root.exit.done:
            _log.error("the actor tree ended: %s", root.exit.result())
            return ExitCode.INTERNAL
        _log.info("stopping")
        tree.begin_drain()
        root.stop()
        if not root.exit.wait(TREE_STOP_S):
            _log.error("the actor tree did not end within %s s", TREE_STOP_S)
        return ExitCode.OK

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._signals += 1
        self._wake.put(False)
        if self._signals > 1:
            # Every child holds the read end of a pipe of ours and ends with us.
            os._exit(ExitCode.INTERNAL)

    def _on_hangup(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._wake.put(True)
