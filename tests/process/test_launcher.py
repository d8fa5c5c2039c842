"""Starting, watching and reaping real processes."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_runtime.exit_codes import ExitCode, ExitKind, ExitReason
from neuron_runtime.launcher import (
    Launcher,
    LauncherStopped,
    ProcessExit,
    ProcessHandle,
    ProcessSpec,
    SpawnFailed,
)
from neuron_runtime.stopped import process_state
from tests.eventually import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.stop(10.0)


class Child:
    """One stub child and the notices about it."""

    def __init__(
        self, launcher: Launcher, mode: str = "idle", ready: Path | None = None, nice: int = 0
    ) -> None:
        self.exits: queue.SimpleQueue[ProcessExit] = queue.SimpleQueue()
        args = ("--boot", "1", "--parent", "ipc:///none", "--mode", mode)
        spec = ProcessSpec(
            name="stub",
            module="tests.process.stub_child",
            args=(*args, "--ready", f"{ready}") if ready else args,
            slot=3,
            inc=8,
            on_exit=self.exits.put,
            env={"STUB": "hello"},
            nice=nice,
        )
        self.handle: ProcessHandle = launcher.spawn(spec)
        if ready:
            eventually(lambda: ready.exists() and ready.read_text() != "", 10.0)

    def reason(self) -> ExitReason:
        end = self.exits.get(timeout=10.0)
        assert (end.slot, end.inc, end.pid) == (3, 8, self.handle.pid)
        assert self.handle.exited.is_set()
        assert process_state(self.handle.pid) == ""
        return end.exit_reason


@pytest.mark.parametrize("mode", ["aborts", "hangs"])
def test_a_child_with_notice_aborts_before_it_is_killed(
    launcher: Launcher, tmp_path: Path, mode: str
) -> None:
    ready = tmp_path / "ready"
    child = Child(launcher, mode, ready)
    # Far more than it may take itself, so that it is its own limit which ends the one that hangs.
    child.handle.kill(ExitKind.FENCED, notice_s=60.0)

    code = ExitCode.PARENT_LOST if mode == "aborts" else 1
    assert child.reason() == ExitReason(ExitKind.FENCED, code)
    assert ready.read_text() == "aborted"


def test_a_child_without_notice_is_killed_at_once(launcher: Launcher, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = Child(launcher, "aborts", ready)
    child.handle.kill(ExitKind.FENCED)

    assert child.reason() == ExitReason(ExitKind.FENCED, -signal.SIGKILL)
    assert "aborted" not in ready.read_text()


def test_a_child_that_is_stopped_is_killed_after_its_notice(
    launcher: Launcher, tmp_path: Path
) -> None:
    child = Child(launcher, "aborts", tmp_path / "ready")
    os.kill(child.handle.pid, signal.SIGSTOP)
    eventually(lambda: process_state(child.handle.pid) == "T")
    child.handle.kill(ExitKind.FENCED, notice_s=0.1)

    assert child.reason() == ExitReason(ExitKind.FENCED, -signal.SIGKILL)


def test_an_exit_is_told_once_with_its_code(launcher: Launcher) -> None:
    child = Child(launcher, "exit:78")

    assert child.reason() == ExitReason(ExitKind.INIT_FAILED, ExitCode.CONFIG)
    child.handle.kill()
    child.handle.stop()
    assert launcher.stop(10.0)
    assert child.exits.empty()


def test_a_kill_from_outside_is_told_as_killed(launcher: Launcher) -> None:
    child = Child(launcher)
    os.kill(child.handle.pid, signal.SIGKILL)

    assert child.reason() == ExitReason(ExitKind.KILLED, -signal.SIGKILL)


def test_a_stopped_process_can_be_killed(launcher: Launcher) -> None:
    child = Child(launcher)
    os.kill(child.handle.pid, signal.SIGSTOP)
    child.handle.kill(ExitKind.FENCED)

    assert child.reason() == ExitReason(ExitKind.FENCED, -signal.SIGKILL)


def test_stop_ends_a_child_by_its_death_pipe(launcher: Launcher, tmp_path: Path) -> None:
    child = Child(launcher, ready=tmp_path / "ready")
    child.handle.stop(grace_s=10.0, term_s=10.0)

    assert child.reason() == ExitReason(ExitKind.SHUTDOWN, ExitCode.PARENT_LOST)


def test_stop_climbs_to_sigkill_for_a_child_that_does_not_listen(
    launcher: Launcher, tmp_path: Path
) -> None:
    child = Child(launcher, "deaf", tmp_path / "ready")
    child.handle.stop(grace_s=0.05, term_s=0.05)

    assert child.reason() == ExitReason(ExitKind.SHUTDOWN, -signal.SIGKILL)


def test_a_silent_child_writes_its_stacks_before_it_is_killed(
    launcher: Launcher, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child(launcher, ready=tmp_path / "ready")
    child.handle.kill(ExitKind.SILENT)

    assert child.reason() == ExitReason(ExitKind.SILENT, -signal.SIGKILL)
    assert "stub_child.py" in capfd.readouterr().err


def test_a_child_outlives_the_thread_that_asked_for_it(launcher: Launcher, tmp_path: Path) -> None:
    children: list[Child] = []
    asker = threading.Thread(
        target=lambda: children.append(Child(launcher, ready=tmp_path / "ready"))
    )
    asker.start()
    asker.join(10.0)
    second = Child(launcher, ready=tmp_path / "second")

    assert process_state(children[0].handle.pid) not in ("", "Z")
    assert second.exits.empty()


def test_environment_and_niceness_reach_the_child(launcher: Launcher, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    Child(launcher, ready=ready, nice=7)

    assert ready.read_text() == f"hello {os.nice(0) + 7}"


def test_a_child_inherits_no_descriptor_but_its_death_pipe(
    launcher: Launcher, tmp_path: Path
) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    child = Child(launcher, ready=tmp_path / "ready")
    links = {
        os.readlink(f"/proc/{child.handle.pid}/fd/{fd}")
        for fd in os.listdir(f"/proc/{child.handle.pid}/fd")
        if int(fd) > 2
    }
    os.close(inherited)

    assert len(links) == 1
    assert links.pop().startswith("pipe:")


def test_a_failed_owner_does_not_end_the_launcher(launcher: Launcher) -> None:
    def fail(_: ProcessExit) -> None:
        raise ValueError

    args = ("--boot", "1", "--parent", "x", "--mode", "exit:0")
    launcher.spawn(ProcessSpec("bad", "tests.process.stub_child", args, 1, 1, fail))

    assert Child(launcher, "exit:0").reason().kind is ExitKind.NORMAL


def test_a_process_that_cannot_be_started_is_named(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/python")

    with pytest.raises(SpawnFailed, match=r"cannot start stub: .*No such file"):
        Child(launcher)


def test_a_command_line_that_cannot_be_one_is_refused_and_the_launcher_goes_on(
    launcher: Launcher,
) -> None:
    args = ("--boot", "1", "--parent", "no\0endpoint")
    with pytest.raises(SpawnFailed, match="null byte"):
        launcher.spawn(ProcessSpec("bad", "tests.process.stub_child", args, 1, 1, print))

    assert Child(launcher, "exit:0").reason().kind is ExitKind.NORMAL


def test_a_stopped_launcher_leaves_no_child_and_starts_none() -> None:
    launcher = Launcher()
    children = [Child(launcher), Child(launcher)]

    assert launcher.stop(10.0)
    for child in children:
        assert child.reason() == ExitReason(ExitKind.SHUTDOWN, -signal.SIGKILL)
    with pytest.raises(LauncherStopped):
        Child(launcher)
    assert launcher.stop(0.1)
