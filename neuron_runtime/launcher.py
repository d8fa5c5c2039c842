"""The only thread that starts processes; it also watches and reaps them.

The thread lives as long as the Launcher, because PR_SET_PDEATHSIG (a child's second line of
defence) fires when the *thread* that forked exits. A child inherits nothing but stderr, stdout and
the read end of its death pipe; we hold the only write end, so our end, however it comes, is EOF for
every child.

A fork server is a child that has done the imports of others, which are then its copies: adopted by
us, watched and reaped like any other. Whatever it cannot do, or not in time, is executed instead.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import final

from neuron_runtime.exit_codes import ExitKind, ExitReason
from neuron_runtime.fork_server import Asked, ForkServer
from neuron_runtime.process import (
    CloseDeathPipe,
    NotifyExit,
    ProcessEffect,
    ProcessState,
    ReportUnkillable,
    SendSignal,
)
from neuron_runtime.process_spec import ForkServerSpec, OnExit, ProcessExit, ProcessSpec
from neuron_runtime.spawned_process import SpawnedProcess, kill_unwatched

__all__ = [
    "ForkServerSpec",
    "Launcher",
    "LauncherStopped",
    "OnExit",
    "ProcessExit",
    "ProcessHandle",
    "ProcessSpec",
    "SpawnFailed",
]

_log = logging.getLogger("cortex.launcher")

GRACE_S = 5.0
TERM_S = 3.0
_SPAWN_TIMEOUT_S = 30.0

Started = Future["ProcessHandle"]


class LauncherStopped(Exception):
    """The launcher has been stopped and starts nothing any more."""


class SpawnFailed(Exception):
    """The operating system refused to start the process; names it and the cause."""


@final
class ProcessHandle:
    """One started child. All methods may be called from any thread and never block."""

    def __init__(self, spec: ProcessSpec, pid: int, launcher: Launcher) -> None:
        self.name = spec.name
        self.slot = spec.slot
        self.inc = spec.inc
        self.pid = pid
        self.exited = threading.Event()
        self._launcher = launcher

    def kill(self, kind: ExitKind = ExitKind.FENCED, notice_s: float = 0.0) -> None:
        """Send SIGKILL, which also ends a stopped process; ``kind`` names its exit's reason.

        With ``notice_s`` its death pipe is closed so long before, for its last act.
        """
        self._launcher.call(partial(self._launcher.on_kill, self, kind, notice_s))

    def stop(self, grace_s: float = GRACE_S, term_s: float = TERM_S) -> None:
        """Close the death pipe; SIGTERM after ``grace_s``, SIGKILL after ``term_s`` more."""
        self._launcher.call(partial(self._launcher.on_stop, self, grace_s, term_s))


@final
class Launcher:
    """Starts, watches and reaps child processes on one thread of its own."""

    def __init__(self, name: str = "launcher") -> None:
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_fd, selectors.EVENT_READ, self._on_wake)
        self._children: dict[ProcessHandle, SpawnedProcess] = {}
        self._guard = threading.Lock()  # SAFETY: orders ``call`` against the closing of the wake fd
        self._closed = False
        self._stopping = False
        self._fork_server: ForkServer | None = None
        self.fork_server: ProcessHandle | None = None
        """The process that others are copies of. Any thread may read it."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        """Start a child and return once it runs. Any thread but the launcher's.

        It is a copy of the fork server, if there is one that may become it; else it is executed.

        Raises:
            LauncherStopped: ``stop`` has been called.
            SpawnFailed: The operating system refused.
        """
        started: Started = Future()
        if not self.call(partial(self._on_spawn, spec, started)):
            raise LauncherStopped(spec.name)
        try:
            return started.result(_SPAWN_TIMEOUT_S)
        except TimeoutError:
            started.cancel()
            msg = f"cannot start {spec.name}: no answer within {_SPAWN_TIMEOUT_S} s"
            raise SpawnFailed(msg) from None

    def preload(self, spec: ForkServerSpec) -> None:
        """Start a fork server if there is none; returns at once."""
        self.call(partial(self._on_preload, spec))

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Kill what is left, reap it, end the thread. Returns whether all that was done in time."""
        self.call(self._on_shutdown)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def call(self, command: Callable[[], None]) -> bool:
        """Run ``command`` on the launcher's thread; False when that has ended."""
        with self._guard:
            if self._closed:
                return False
            self._commands.put(command)
            os.eventfd_write(self._wake_fd, 1)
            return True

    def on_kill(self, handle: ProcessHandle, kind: ExitKind, notice_s: float = 0.0) -> None:
        """Execute ``ProcessHandle.kill``. Launcher's thread only."""
        if child := self._children.get(handle):
            self._execute(handle, child, child.life.kill(kind, time.monotonic(), notice_s))

    def on_stop(self, handle: ProcessHandle, grace_s: float, term_s: float) -> None:
        """Execute ``ProcessHandle.stop``. Launcher's thread only."""
        if child := self._children.get(handle):
            effects = child.life.stop(grace_s, term_s, time.monotonic())
            self._execute(handle, child, effects)

    def _run(self) -> None:
        while not (self._stopping and not self._children and self._commands.empty()):
            for key, _ in self._selector.select(self._timeout_s()):
                key.data()
            while not self._commands.empty():
                self._commands.get()()
            self._tick()
        with self._guard:
            self._closed = True
        while not self._commands.empty():
            self._commands.get()()
        self._selector.close()
        os.close(self._wake_fd)

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake_fd)

    def _timeout_s(self) -> float | None:
        wakes = [c.life.wake_at for c in self._children.values() if c.life.wake_at is not None]
        if self._fork_server is not None and self._fork_server.wake_at is not None:
            wakes.append(self._fork_server.wake_at)
        return max(0.0, min(wakes) - time.monotonic()) if wakes else None

    def _tick(self) -> None:
        now = time.monotonic()
        server, handle = self._fork_server, self.fork_server
        if server and handle and server.wake_at is not None and now >= server.wake_at:
            server.wake_at = None
            self.on_kill(handle, ExitKind.STALLED)
        for handle, child in list(self._children.items()):
            self._execute(handle, child, child.life.tick(now))

    def _on_spawn(self, spec: ProcessSpec, started: Started) -> None:
        if self._stopping:
            _fail(started, LauncherStopped(spec.name))
            return
        server = self._fork_server
        if server is None or not server.ask(spec, started, time.monotonic()):
            self._start(spec, started)

    def _start(self, spec: ProcessSpec, started: Started) -> None:
        try:
            child = SpawnedProcess.start(spec)
        except (OSError, ValueError) as error:
            _fail(started, SpawnFailed(f"cannot start {spec.name}: {error}"))
            return
        self._started(child, started)

    def _started(self, child: SpawnedProcess, started: Started) -> None:
        handle = self._add(child)
        if started.set_running_or_notify_cancel():
            started.set_result(handle)
        else:
            self.on_kill(handle, ExitKind.FENCED)
        if self._stopping:
            # A copy that was on its way when all others were killed.
            self.on_kill(handle, ExitKind.SHUTDOWN)

    def _on_preload(self, spec: ForkServerSpec) -> None:
        if self._stopping or self._fork_server is not None:
            return
        try:
            server = ForkServer.start(spec, time.monotonic())
        except OSError as error:
            _log.warning("no fork server: %s", error)
            return
        self._fork_server, self.fork_server = server, self._add(server.process)
        self._selector.register(server.channel, selectors.EVENT_READ, self._on_forked)

    def _on_forked(self) -> None:
        server = self._fork_server
        for asked, reply in server.replies(time.monotonic()) if server else ():
            if reply.pid:
                self._adopt(asked, reply.pid)
            else:
                _log.warning("no copy name=%s: %s", asked.spec.name, reply.error)
                os.close(asked.death_fd)
                self._start(asked.spec, asked.started)

    def _adopt(self, asked: Asked, pid: int) -> None:
        try:
            child = SpawnedProcess(asked.spec, pid, asked.death_fd)
        except OSError as error:
            os.close(asked.death_fd)
            kill_unwatched(pid)
            _fail(asked.started, SpawnFailed(f"cannot watch {asked.spec.name}: {error}"))
            return
        self._started(child, asked.started)

    def _on_fork_server_gone(self) -> None:
        self._on_forked()
        server = self._fork_server
        self._fork_server = self.fork_server = None
        if server is not None:
            self._selector.unregister(server.channel)
            for asked in server.close():
                # A copy of which we were not told reads EOF, and ends.
                os.close(asked.death_fd)
                self._on_spawn(asked.spec, asked.started)

    def _add(self, child: SpawnedProcess) -> ProcessHandle:
        spec = child.spec
        handle = ProcessHandle(spec, child.pid, self)
        child.life.started()
        self._children[handle] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._reap, handle))
        _log.info(
            "spawned name=%s slot=%d inc=%d pid=%d", spec.name, spec.slot, spec.inc, handle.pid
        )
        return handle

    def _on_shutdown(self) -> None:
        self._stopping = True
        for handle in list(self._children):
            self.on_kill(handle, ExitKind.SHUTDOWN)

    def _reap(self, handle: ProcessHandle) -> None:
        child = self._children[handle]
        returncode = child.reap()
        if returncode is None:
            return
        del self._children[handle]
        self._selector.unregister(child.pidfd)
        child.close()
        if handle is self.fork_server:
            self._on_fork_server_gone()
        self._execute(handle, child, child.life.exited(returncode))

    def _execute(
        self, handle: ProcessHandle, child: SpawnedProcess, effects: tuple[ProcessEffect, ...]
    ) -> None:
        for effect in effects:
            match effect:
                case CloseDeathPipe():
                    child.close_death_pipe()
                case SendSignal(signum):
                    if child.life.state is not ProcessState.EXITED:
                        _send(child.pidfd, signum)
                case ReportUnkillable():
                    _log.error("unkillable name=%s pid=%d", child.spec.name, handle.pid)
                case NotifyExit(reason):
                    self._notify(handle, child.spec, reason)

    def _notify(self, handle: ProcessHandle, spec: ProcessSpec, reason: ExitReason) -> None:
        _log.info("exited name=%s inc=%d pid=%d reason=%s", spec.name, spec.inc, handle.pid, reason)
        handle.exited.set()
        try:
            spec.on_exit(ProcessExit(spec.slot, spec.inc, handle.pid, reason))
        except Exception:  # noqa: BLE001 - an owner's mistake must not end the immortal thread
            _log.exception("on_exit failed name=%s inc=%d", spec.name, spec.inc)


def _fail(started: Started, error: Exception) -> None:
    if started.set_running_or_notify_cancel():
        started.set_exception(error)


def _send(pidfd: int, signum: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return  # it is gone; its pidfd is readable and says so next
