"""Processes that are copies of one whose imports are done."""

from __future__ import annotations

import errno
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from neuron_runtime import fork_server
from neuron_runtime.exit_codes import ExitCode, ExitKind, ExitReason
from neuron_runtime.launcher import (
    ForkServerSpec,
    Launcher,
    ProcessExit,
    ProcessHandle,
    ProcessSpec,
    SpawnFailed,
)
from neuron_runtime.stopped import process_state
from tests.eventually import eventually

pytestmark = pytest.mark.process
STUB = "tests.process.stub_child"
NEVER = "tests.process.stub_never_imported"
COMMON = ("--boot=1", "--parent=ipc:///none")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.stop(10.0)


Exits = queue.SimpleQueue[ProcessExit]


@pytest.fixture
def exits() -> Exits:
    return queue.SimpleQueue()


def preload(launcher: Launcher, exits: Exits, *imports: str) -> ProcessHandle:
    launcher.preload(ForkServerSpec((STUB,), imports, exits.put))
    eventually(lambda: launcher.fork_server is not None, 10.0)
    assert launcher.fork_server is not None
    return launcher.fork_server


def rank(
    launcher: Launcher, exits: Exits, *args: str, inc: int = 8, env: str = "", nice: int = 0
) -> ProcessHandle:
    spec = ProcessSpec(
        name="model/m/rank0",
        module=STUB,
        args=(*COMMON, *args),
        slot=3,
        inc=inc,
        on_exit=exits.put,
        env={"STUB": env} if env else {},
        nice=nice,
    )
    return launcher.spawn(spec)


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def forked(pid: int) -> bool:
    """Say whether it was not executed: such a process still has the server's auxiliary room."""
    return len(Path(f"/proc/{pid}/cmdline").read_bytes()) >= fork_server._COMMAND_LINE_ROOM


def shows(ready: Path) -> Callable[[], bool]:
    return lambda: ready.exists() and ready.read_text() != ""


def test_a_copy_is_our_child_with_the_command_line_environment_and_priority_it_was_given(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    server = preload(launcher, exits)
    ready = tmp_path / "ready"
    handle = rank(launcher, exits, f"--ready={ready}", env="own", nice=3)
    eventually(shows(ready), 10.0)

    assert forked(handle.pid)
    assert parent(handle.pid) == os.getpid()
    assert (handle.name, handle.slot, handle.inc) == ("model/m/rank0", 3, 8)
    line = command_line(handle.pid)
    assert line[:3] == [sys.executable, "-m", STUB]
    assert line[line.index("--name") + 1] == "model/m/rank0"
    assert line[line.index("--inc") + 1] == "8"
    assert ready.read_text() == f"own {os.nice(0) + 3}"
    assert os.getsid(handle.pid) == handle.pid
    assert launcher.fork_server is server


def test_each_copy_is_killed_and_reaped_alone(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    preload(launcher, exits)
    handles = [rank(launcher, exits, f"--ready={tmp_path / f'{inc}'}", inc=inc) for inc in (8, 9)]
    for inc in (8, 9):
        eventually(shows(tmp_path / f"{inc}"), 10.0)
    assert all(forked(handle.pid) for handle in handles)
    handles[0].kill(ExitKind.STALLED)

    end = exits.get(timeout=10.0)
    assert end == ProcessExit(3, 8, handles[0].pid, ExitReason(ExitKind.STALLED, -signal.SIGKILL))
    assert handles[0].exited.is_set()
    assert process_state(handles[0].pid) == ""
    assert process_state(handles[1].pid) == "S"
    assert exits.empty()


def test_the_exit_code_of_a_copy_is_its_own(launcher: Launcher, exits: Exits) -> None:
    preload(launcher, exits)
    rank(launcher, exits, "--mode=exit:75")

    assert exits.get(timeout=10.0).exit_reason == ExitReason(ExitKind.INIT_FAILED, 75)


def test_a_copy_ends_with_its_death_pipe_and_holds_nothing_else(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    preload(launcher, exits)
    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)
    held = [fd for fd in os.listdir(f"/proc/{handle.pid}/fd") if int(fd) > 2]
    handle.stop(grace_s=10.0, term_s=10.0)

    assert len(held) == 1
    reason = exits.get(timeout=10.0).exit_reason
    assert reason == ExitReason(ExitKind.SHUTDOWN, ExitCode.PARENT_LOST)


def test_copies_outlive_their_server(launcher: Launcher, exits: Exits, tmp_path: Path) -> None:
    server = preload(launcher, exits)
    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)
    os.kill(server.pid, signal.SIGKILL)

    assert exits.get(timeout=10.0).pid == server.pid
    assert launcher.fork_server is None
    assert process_state(handle.pid) == "S"
    assert not forked(rank(launcher, exits, inc=9).pid)


@pytest.mark.parametrize("broken", ["killed", "stopped", "stuck", "not importable"])
def test_without_a_server_that_answers_a_process_is_executed(
    launcher: Launcher, exits: Exits, monkeypatch: pytest.MonkeyPatch, broken: str, tmp_path: Path
) -> None:
    if broken == "stuck":
        monkeypatch.setattr(fork_server, "IMPORTS_S", 0.1)
    imports = "tests.process.no_such_module" if broken == "not importable" else NEVER
    server = preload(launcher, exits, imports)
    match broken:
        case "killed":
            os.kill(server.pid, signal.SIGKILL)
        case "stopped":
            os.kill(server.pid, signal.SIGSTOP)
            eventually(lambda: process_state(server.pid) == "T", 10.0)

    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)
    assert not forked(handle.pid)
    assert handle.pid != server.pid
    if broken == "stuck":
        assert exits.get(timeout=10.0).exit_reason.kind is ExitKind.STALLED


def test_one_that_dies_with_requests_before_it_owes_nobody_a_process(
    launcher: Launcher, exits: Exits
) -> None:
    server = preload(launcher, exits, NEVER)
    asked: queue.SimpleQueue[ProcessHandle] = queue.SimpleQueue()

    threads = [
        threading.Thread(target=lambda inc=inc: asked.put(rank(launcher, exits, inc=inc)))
        for inc in (8, 9)
    ]
    for thread in threads:
        thread.start()
    os.kill(server.pid, signal.SIGKILL)

    assert {asked.get(timeout=20.0).inc for _ in threads} == {8, 9}
    for thread in threads:
        thread.join(5.0)


def test_a_server_that_still_imports_is_waited_for(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    preload(launcher, exits, "json", "xml.dom.minidom")

    assert forked_when_ready(rank(launcher, exits, f"--ready={tmp_path / 'r'}"), tmp_path / "r")


def forked_when_ready(handle: ProcessHandle, ready: Path) -> bool:
    eventually(shows(ready), 10.0)
    return forked(handle.pid)


def test_a_launcher_without_descriptors_refuses_and_goes_on(
    launcher: Launcher, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    preload(launcher, exits)
    with monkeypatch.context() as without:
        without.setattr(os, "pipe", none_left)
        with pytest.raises(SpawnFailed, match="Too many open files"):
            rank(launcher, exits)

    assert forked(rank(launcher, exits).pid)


def test_a_daemon_with_thousands_of_descriptors_has_a_server(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    with thousands_of_descriptors():
        preload(launcher, exits)
        handle = rank(launcher, exits, f"--ready={tmp_path / 'r'}")

    assert forked_when_ready(handle, tmp_path / "r")


def test_a_copy_that_cannot_be_watched_is_ended_and_reaped(
    launcher: Launcher, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload(launcher, exits)
    copies: queue.SimpleQueue[int] = queue.SimpleQueue()

    def none_left(pid: int) -> int:
        copies.put(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as without:
        without.setattr(os, "pidfd_open", none_left)
        with pytest.raises(SpawnFailed, match="Too many open files"):
            rank(launcher, exits)

    assert process_state(copies.get(timeout=1.0)) == ""
    assert forked(rank(launcher, exits).pid)


@contextmanager
def thousands_of_descriptors() -> Iterator[None]:
    """Have none left that select(2) could wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1024):
            taken.callback(os.close, os.dup(2))
        yield


def test_there_is_one_server_at_a_time(launcher: Launcher, exits: Exits) -> None:
    first = preload(launcher, exits)
    launcher.preload(ForkServerSpec((STUB,), (), exits.put))
    # Asked of the same thread, so it comes after what was asked before.
    rank(launcher, exits)

    assert launcher.fork_server is first


def test_a_server_that_cannot_import_is_told(launcher: Launcher, exits: Exits) -> None:
    launcher.preload(ForkServerSpec((STUB,), ("tests.process.no_such_module",), exits.put))

    end = exits.get(timeout=10.0)
    assert (end.slot, end.inc) == (0, 0)
    assert end.exit_reason == ExitReason(ExitKind.INIT_FAILED, ExitCode.BACKEND_UNAVAILABLE)
    assert launcher.fork_server is None


def test_a_stopped_launcher_leaves_no_server_and_starts_none(exits: Exits) -> None:
    launcher = Launcher()
    server = preload(launcher, exits)
    handle = rank(launcher, exits)

    assert launcher.stop(10.0)
    assert process_state(server.pid) == process_state(handle.pid) == ""
    launcher.preload(ForkServerSpec((STUB,), (), exits.put))
    assert launcher.fork_server is None


def test_a_copy_that_comes_while_the_launcher_stops_is_ended_too(exits: Exits) -> None:
    launcher = Launcher()
    preload(launcher, exits)
    # What it answers before is that its imports are done.
    rank(launcher, exits, inc=8)
    started: Future[ProcessHandle] = Future()
    spec = ProcessSpec("late", STUB, COMMON, 3, 9, exits.put)

    def stop_when_forked() -> None:
        launcher._on_spawn(spec, started)
        server = launcher._fork_server
        assert server is not None
        assert select.select([server.channel], [], [], 10.0)[0]
        launcher._on_shutdown()

    launcher.call(stop_when_forked)

    assert launcher.stop(10.0)
    assert process_state(started.result(0.0).pid) == ""


def test_what_json_cannot_carry_is_executed(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    preload(launcher, exits)
    handle = rank(launcher, exits, "--parent=\udcff", f"--ready={tmp_path / 'r'}")

    assert not forked_when_ready(handle, tmp_path / "r")


_DAEMON = """
import sys
from neuron_runtime.launcher import ForkServerSpec, Launcher, ProcessSpec
launcher = Launcher()
stub = "tests.process.stub_child"
launcher.preload(ForkServerSpec((stub,), (), print))
args = ("--boot=1", "--parent=ipc:///none")
copy = launcher.spawn(ProcessSpec("copy", stub, args, 1, 1, print))
print(launcher.fork_server.pid, copy.pid, flush=True)
sys.stdin.read()
"""


def test_server_and_copies_end_with_a_killed_daemon() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        pids = [int(word) for word in daemon.stdout.readline().split()]
        assert len(pids) == 2
        daemon.kill()

    eventually(lambda: all(process_state(pid) in ("", "Z") for pid in pids), 10.0)
