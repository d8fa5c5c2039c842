"""Processes that wait, prepared, to become the next one that is started."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neuron_runtime import spawned_process
from neuron_runtime.exit_codes import ExitCode, ExitKind, ExitReason
from neuron_runtime.launcher import (
    Launcher,
    ProcessExit,
    ProcessHandle,
    ProcessSpec,
    StandbySpec,
)
from neuron_runtime.stopped import process_state
from tests.eventually import eventually

pytestmark = pytest.mark.process
STUB = "tests.process.stub_child"
COMMON = ("--boot=1", "--parent=ipc:///none")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    assert launcher.stop(10.0)


@pytest.fixture
def exits() -> queue.SimpleQueue[ProcessExit]:
    return queue.SimpleQueue()


Exits = queue.SimpleQueue[ProcessExit]


def standby(launcher: Launcher, exits: Exits, *prepare: str, count: int = 1) -> ProcessHandle:
    """Have standbys started; returns the first."""
    launcher.prepare(StandbySpec(STUB, prepare, count, exits.put))
    eventually(lambda: len(launcher.standbys) == count, 10.0)
    return launcher.standbys[0]


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


def shows(ready: Path) -> Callable[[], bool]:
    return lambda: ready.exists() and ready.read_text() != ""


def test_a_standby_becomes_the_next_process_and_no_other_is_started(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    waiting = standby(launcher, exits)
    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)

    assert handle.pid == waiting.pid
    assert (handle.name, handle.slot, handle.inc) == ("model/m/rank0", 3, 8)
    assert launcher.standbys == ()
    line = command_line(handle.pid)
    assert line[:3] == [sys.executable, "-m", STUB]
    assert line[line.index("--name") + 1] == "model/m/rank0"
    assert line[line.index("--inc") + 1] == "8"


def test_an_assigned_process_is_killed_and_reaped_as_the_one_it_became(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    waiting = standby(launcher, exits)
    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)
    # Whoever still holds the standby holds nothing.
    waiting.kill()
    handle.kill(ExitKind.STALLED)

    end = exits.get(timeout=10.0)
    assert end == ProcessExit(3, 8, handle.pid, ExitReason(ExitKind.STALLED, -signal.SIGKILL))
    assert handle.exited.is_set()
    assert process_state(handle.pid) == ""
    assert exits.empty()


def test_an_assigned_process_ends_with_its_death_pipe_and_holds_nothing_else(
    launcher: Launcher, exits: Exits, tmp_path: Path
) -> None:
    standby(launcher, exits)
    handle = rank(launcher, exits, f"--ready={tmp_path / 'ready'}")
    eventually(shows(tmp_path / "ready"), 10.0)
    held = [fd for fd in os.listdir(f"/proc/{handle.pid}/fd") if int(fd) > 2]
    handle.stop(grace_s=10.0, term_s=10.0)

    assert len(held) == 1
    reason = exits.get(timeout=10.0).exit_reason
    assert reason == ExitReason(ExitKind.SHUTDOWN, ExitCode.PARENT_LOST)


def test_one_that_still_prepares_itself_is_taken_all_the_same(
    launcher: Launcher, exits: Exits
) -> None:
    waiting = standby(launcher, exits, "never")

    assert rank(launcher, exits, "never").pid == waiting.pid


@pytest.mark.parametrize("broken", ["killed", "stopped", "stuck"])
def test_one_that_is_not_fit_to_serve_is_passed_over(
    launcher: Launcher, exits: Exits, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    waiting = standby(launcher, exits, "never")
    match broken:
        case "killed":
            os.kill(waiting.pid, signal.SIGKILL)
            assert exits.get(timeout=10.0).inc == 0
        case "stopped":
            os.kill(waiting.pid, signal.SIGSTOP)
            eventually(lambda: process_state(waiting.pid) == "T", 10.0)
        case _:
            monkeypatch.setattr(spawned_process, "STANDBY_READY_S", -1.0)

    assert rank(launcher, exits, "never").pid != waiting.pid


def test_only_a_process_of_the_same_kind_is_taken_over(launcher: Launcher, exits: Exits) -> None:
    waiting = standby(launcher, exits, "--mode=idle")
    others = [
        rank(launcher, exits, "--mode=deaf"),
        rank(launcher, exits, "--mode=idle", env="own"),
        rank(launcher, exits, "--mode=idle", nice=1),
    ]

    assert waiting.pid not in [handle.pid for handle in others]
    assert launcher.standbys == (waiting,)


def test_what_is_missing_is_started_and_no_more(launcher: Launcher, exits: Exits) -> None:
    first = standby(launcher, exits, count=2)
    assert rank(launcher, exits).pid == first.pid
    (second,) = launcher.standbys
    standby(launcher, exits, count=2)
    launcher.prepare(StandbySpec(STUB, (), 2, exits.put))

    # Asked of the same thread, so it comes after what was asked before.
    assert rank(launcher, exits, inc=9).pid == second.pid
    assert len(launcher.standbys) == 1


def test_one_that_cannot_be_prepared_says_so_and_is_told(launcher: Launcher, exits: Exits) -> None:
    launcher.prepare(StandbySpec(STUB, ("fail",), 1, exits.put))

    end = exits.get(timeout=10.0)
    assert (end.slot, end.inc) == (0, 0)
    assert end.exit_reason == ExitReason(ExitKind.INIT_FAILED, ExitCode.BACKEND_UNAVAILABLE)
    assert launcher.standbys == ()


def test_a_stopped_launcher_leaves_no_standby_and_starts_none(exits: Exits) -> None:
    launcher = Launcher()
    waiting = standby(launcher, exits)

    assert launcher.stop(10.0)
    assert process_state(waiting.pid) == ""
    launcher.prepare(StandbySpec(STUB, (), 1, exits.put))
    assert launcher.standbys == ()


_DAEMON = """
import sys
from neuron_runtime.launcher import Launcher, StandbySpec
launcher = Launcher()
launcher.prepare(StandbySpec("tests.process.stub_child", (), 1, print))
while not launcher.standbys:
    pass
print(launcher.standbys[0].pid, flush=True)
sys.stdin.read()
"""


def test_a_standby_ends_with_a_killed_daemon() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        assert process_state(pid) not in ("", "Z")
        daemon.kill()

    eventually(lambda: process_state(pid) in ("", "Z"), 10.0)
