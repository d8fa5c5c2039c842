"""The only thread that starts processes; it also watches and reaps them.

The thread lives as long as the Launcher, because PR_SET_PDEATHSIG (a child's second line of
defence) fires when the *thread* that forked exits. A child inherits nothing but stderr, stdout and
the read end of its death pipe; we hold the only write end, so our end, however it comes, is EOF for
every child.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import final

from neuron_runtime.exit_codes import ExitKind, ExitReason
from neuron_runtime.process import (
    CloseDeathPipe,
    NotifyExit,
    ProcessEffect,
    ProcessLife,
    ProcessState,
    ReportUnkillable,
    SendSignal,
)

_log = logging.getLogger("cortex.launcher")

GRACE_S = 5.0
TERM_S = 3.0
_SPAWN_TIMEOUT_S = 30.0


class LauncherStopped(Exception):
    """The launcher has been stopped and starts nothing any more."""


class SpawnFailed(Exception):
    """The operating system refused to start the process; names it and the cause."""


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

    def kill(self, kind: ExitKind = ExitKind.FENCED) -> None:
        """Send SIGKILL, which also ends a stopped process; ``kind`` names its exit's reason."""
        self._launcher.call(partial(self._launcher.on_kill, self, kind))

    def stop(self, grace_s: float = GRACE_S, term_s: float = TERM_S) -> None:
        """Close the death pipe; SIGTERM after ``grace_s``, SIGKILL after ``term_s`` more."""
        self._launcher.call(partial(self._launcher.on_stop, self, grace_s, term_s))


class _Child:
    """What the launcher's thread holds for a living process."""

    __slots__ = ("death_fd", "life", "pidfd", "popen", "spec")

    def __init__(
        self, spec: ProcessSpec, popen: subprocess.Popen[bytes], pidfd: int, death_fd: int
    ) -> None:
        self.spec = spec
        self.popen = popen
        self.pidfd = pidfd
        self.death_fd: int | None = death_fd
        self.life = ProcessLife()

    def close_death_pipe(self) -> None:
        if self.death_fd is not None:
            os.close(self.death_fd)
            self.death_fd = None


@final
class Launcher:
    """Starts, watches and reaps child processes on one thread of its own."""

    def __init__(self, name: str = "launcher") -> None:
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._children: dict[ProcessHandle, _Child] = {}
        self._guard = threading.Lock()  # SAFETY: orders ``call`` against the closing of the wake fd
        self._closed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def spawn(self, spec: ProcessSpec) -> ProcessHandle:
        """Start a child and return once it has been executed. Any thread but the launcher's.

        Raises:
            LauncherStopped: ``stop`` has been called.
            SpawnFailed: The operating system refused.
        """
        started: Future[ProcessHandle] = Future()
        if not self.call(partial(self._on_spawn, spec, started)):
            raise LauncherStopped(spec.name)
        try:
            return started.result(_SPAWN_TIMEOUT_S)
        except TimeoutError:
            started.cancel()
            msg = f"cannot start {spec.name}: no answer within {_SPAWN_TIMEOUT_S} s"
            raise SpawnFailed(msg) from None

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

    def on_kill(self, handle: ProcessHandle, kind: ExitKind) -> None:
        """Execute ``ProcessHandle.kill``. Launcher's thread only."""
        if child := self._children.get(handle):
            self._execute(handle, child, child.life.kill(kind, time.monotonic()))

    def on_stop(self, handle: ProcessHandle, grace_s: float, term_s: float) -> None:
        """Execute ``ProcessHandle.stop``. Launcher's thread only."""
        if child := self._children.get(handle):
            effects = child.life.stop(grace_s, term_s, time.monotonic())
            self._execute(handle, child, effects)

    def _run(self) -> None:
        while not (self._stopping and not self._children and self._commands.empty()):
            for key, _ in self._selector.select(self._timeout_s()):
                if key.data is None:
                    os.eventfd_read(self._wake_fd)
                else:
                    self._reap(key.data)
            while not self._commands.empty():
                self._commands.get()()
            self._tick()
        with self._guard:
            self._closed = True
        while not self._commands.empty():
            self._commands.get()()
        self._selector.close()
        os.close(self._wake_fd)

    def _timeout_s(self) -> float | None:
        wakes = [c.life.wake_at for c in self._children.values() if c.life.wake_at is not None]
        return max(0.0, min(wakes) - time.monotonic()) if wakes else None

    def _tick(self) -> None:
        now = time.monotonic()
        for handle, child in list(self._children.items()):
            self._execute(handle, child, child.life.tick(now))

    def _on_spawn(self, spec: ProcessSpec, started: Future[ProcessHandle]) -> None:
        if not started.set_running_or_notify_cancel():
            return
        if self._stopping:
            started.set_exception(LauncherStopped(spec.name))
            return
        try:
            child = _start(spec)
        except OSError as error:
            started.set_exception(SpawnFailed(f"cannot start {spec.name}: {error}"))
            return
        handle = ProcessHandle(spec, child.popen.pid, self)
        child.life.started()
        self._children[handle] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, handle)
        _log.info(
            "spawned name=%s slot=%d inc=%d pid=%d", spec.name, spec.slot, spec.inc, handle.pid
        )
        started.set_result(handle)

    def _on_shutdown(self) -> None:
        self._stopping = True
        for handle in list(self._children):
            self.on_kill(handle, ExitKind.SHUTDOWN)

    def _reap(self, handle: ProcessHandle) -> None:
        child = self._children[handle]
        returncode = child.popen.poll()
        if returncode is None:
            return
        del self._children[handle]
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        child.close_death_pipe()
        self._execute(handle, child, child.life.exited(returncode))

    def _execute(
        self, handle: ProcessHandle, child: _Child, effects: tuple[ProcessEffect, ...]
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


def _start(spec: ProcessSpec) -> _Child:
    read_fd, write_fd = os.pipe()
    pidfd = -1
    try:
        argv = [sys.executable, "-m", spec.module, *spec.args]
        argv += ["--slot", f"{spec.slot}", "--inc", f"{spec.inc}", "--name", spec.name]
        popen = subprocess.Popen(
            [*argv, "--death-fd", f"{read_fd}"],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **spec.env},
            pass_fds=(read_fd,),
            close_fds=True,
            start_new_session=True,
        )
        try:
            pidfd = os.pidfd_open(popen.pid)
            if spec.nice:
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, popen.pid, own + spec.nice)
        except OSError:
            popen.kill()
            popen.wait()
            raise
    except OSError:
        os.close(write_fd)
        if pidfd >= 0:
            os.close(pidfd)
        raise
    finally:
        os.close(read_fd)
    return _Child(spec, popen, pidfd, write_fd)


def _send(pidfd: int, signum: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return  # it is gone; its pidfd is readable and says so next
