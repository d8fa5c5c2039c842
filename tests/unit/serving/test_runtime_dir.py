"""The directory of the local sockets."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cortex_actors.serving.runtime_dir import RuntimeDir, RuntimeDirError


def test_it_is_private_and_empty_whatever_a_predecessor_left(tmp_path: Path) -> None:
    directory = RuntimeDir(tmp_path / "cortex", "neurond-1")
    left = directory.create() / "front.ipc"
    left.touch()

    path = directory.create()

    assert list(path.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_it_is_gone_in_the_end(tmp_path: Path) -> None:
    directory = RuntimeDir(tmp_path, "neurond-1")
    directory.create()

    directory.remove()
    directory.remove()

    assert not directory.path.exists()


def test_a_place_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "neurond-1").symlink_to(elsewhere)

    with pytest.raises(RuntimeDirError, match="neurond-1"):
        RuntimeDir(tmp_path, "neurond-1").create()


def test_what_another_daemon_uses_is_left_to_it(tmp_path: Path) -> None:
    """Two neurons of one host may have the same port, at different addresses."""
    first, second = RuntimeDir(tmp_path, "neurond-1"), RuntimeDir(tmp_path, "neurond-1")
    socket = first.create() / "front.ipc"
    socket.touch()

    with pytest.raises(RuntimeDirError, match="another daemon uses"):
        second.create()
    second.remove()
    assert socket.exists()

    first.remove()
    assert list(second.create().iterdir()) == []
    second.remove()


def test_a_killed_daemon_does_not_keep_its_successor_out(tmp_path: Path) -> None:
    source = (
        "import os, sys, signal; from pathlib import Path;"
        "from cortex_actors.serving.runtime_dir import RuntimeDir;"
        "(RuntimeDir(Path(sys.argv[1]), 'neurond-1').create() / 'front.ipc').touch();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", source, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "neurond-1" / "front.ipc").exists()

    assert list(RuntimeDir(tmp_path, "neurond-1").create().iterdir()) == []
