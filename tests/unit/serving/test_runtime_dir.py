"""The directory of the local sockets."""

from __future__ import annotations

import stat
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
