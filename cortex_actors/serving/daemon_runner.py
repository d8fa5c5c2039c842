"""The life of a daemon's main thread: threads up, tree up, wait, tree down, threads down (G10)."""

from __future__ import annotations

import logging
import math
import os
import queue
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol, final

from cortex_actors.kit.process_actor import ProcessSource
from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.daemon_tree import Ground
from cortex_actors.serving.runtime_dir import RuntimeDir, RuntimeDirError
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.incarnation import IncarnationMint, mint_boot
from neuron_runtime.launcher import Launcher
from transports.clock import MonotonicClock
from transports.reactor import Reactor

_log = logging.getLogger("cortex.daemon")

TREE_STOP_S = 60.0
THREAD_STOP_S = 3.0
_LOOK_S = 0.5
"""Python runs a signal's handler between two of its own instructions, so one that comes just before
the main thread begins to wait is handled when it has waited."""
_KILLS = 2
"""The signal that stops waiting; the next one is for when that is stuck, too."""
_clock = MonotonicClock()


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

    The first SIGTERM or SIGINT stops in order. A second one waits for nobody: it kills what is
    left, closes the sockets and ends with ``ExitCode.INTERNAL``; a third ends on the spot, for when
    even that hangs. SIGHUP reloads. Each stage of the stop is one ``event=stop`` in the log.
    """

    def __init__(self, name: str, directory: RuntimeDir, log_level: str) -> None:
        self._name = name
        self._directory = directory
        self._log_level = log_level
        # Not an Event: its lock is not reentrant, and a signal may come while this thread holds it.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True for a reload, False for anything else that the main thread is to look at."""

        self._signals = 0

    def run(self, build: Build) -> int:
        """Build the tree, serve, take it down; returns the process's exit code."""
        logging.basicConfig(
            level=self._log_level.upper(),
            stream=sys.stderr,
            format=f"%(asctime)s %(levelname)s {self._name}[%(process)d] %(name)s %(message)s",
        )
        os.environ["CORTEX_LOG_LEVEL"] = self._log_level
        _use_all_descriptors()
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
            self._take_down(launcher, reactor)

    def _serve(self, tree: Tree) -> int:
        root = tree.start()
        root.exit.on_done(lambda _: self._wake.put(False))
        while self._woken(math.inf):
            tree.reload()
        if root.exit.done:
            _log.error("the actor tree ended: %s", root.exit.result())
            return ExitCode.INTERNAL
        _stage("draining")
        tree.begin_drain()
        root.stop()
        return self._await_end(root)

    def _await_end(self, root: ActorRef) -> ExitCode:
        until = _clock.now() + TREE_STOP_S
        while not root.exit.done:
            if self._signals >= _KILLS:
                _stage("killing")
                return ExitCode.INTERNAL
            if self._woken(until) is None:
                _log.error("the actor tree did not end within %s s", TREE_STOP_S)
                break
        return ExitCode.OK

    def _woken(self, until: float) -> bool | None:
        """Wait for what comes next to ``_wake``; None if nothing has by ``until``."""
        while (left := until - _clock.now()) > 0:
            with suppress(queue.Empty):
                return self._wake.get(timeout=min(left, _LOOK_S))
        return None

    def _take_down(self, launcher: Launcher, reactor: Reactor) -> None:
        """Kill and reap what the tree has left, then close its sockets, then remove their files."""
        if not launcher.stop(THREAD_STOP_S):
            _log.error("not every process ended within %s s", THREAD_STOP_S)
        _stage("processes_gone")
        reactor.stop()
        if not reactor.join(THREAD_STOP_S):
            _log.error("not every socket was closed within %s s", THREAD_STOP_S)
        _stage("sockets_closed")
        self._directory.remove()
        _stage("stopped")

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._signals += 1
        self._wake.put(False)
        if self._signals > _KILLS:
            # Every child holds the read end of a pipe of ours and ends with us.
            os._exit(ExitCode.INTERNAL)

    def _on_hangup(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._wake.put(True)


def _use_all_descriptors() -> None:
    """Take what the system would grant anyhow; children inherit it.

    The customary 1024 are for programs that select(2). Each link takes four, and libzmq aborts the
    process that has none left when a peer connects over ipc.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stage(name: str) -> None:
    _log.info("event=stop stage=%s", name)
