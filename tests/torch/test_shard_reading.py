"""Ranks of one host read each shard file once between them, and each only its part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from neuron_runtime.model_errors import SourceNotFound  # noqa: E402
from neuron_runtime.torch_backend import shard_reader  # noqa: E402
from neuron_runtime.torch_backend.shard_reader import ShardReader  # noqa: E402
from tests.torch.shard_touch import Touched, half  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.process]

ROWS, WIDTH = 8192, 2048
BYTES = ROWS * WIDTH * 4
SLACK = 5 << 20
"""The kernel may map a huge page around whatever is touched, at both ends."""


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_file({"rows": torch.ones(ROWS, WIDTH)}, file)
    return file


@contextmanager
def other_rank(shard: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the whole tensor."""
    command = [sys.executable, "-m", "tests.torch.shard_touch", str(shard.parent)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as rank:
        try:
            yield rank
        finally:
            rank.kill()


def told(rank: subprocess.Popen[str]) -> str:
    assert rank.stdout is not None
    return rank.stdout.readline()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_touches_only_its_part_of_a_file(shard: Path, rank: int) -> None:
    with ShardReader(shard.parent) as reader:
        before = Touched.of(shard).resident
        part = reader.read("rows", half(rank, ROWS))
        assert float(part.sum()) == ROWS // 2 * WIDTH
        touched = Touched.of(shard).resident

    assert before < SLACK
    assert abs(touched - BYTES // 2) < SLACK


def test_what_ranks_need_whole_is_in_memory_once_for_all_of_them(shard: Path) -> None:
    with other_rank(shard) as other, ShardReader(shard.parent) as reader:
        assert float(told(other)) == ROWS * WIDTH
        whole = reader.read("rows")
        assert float(whole.sum()) == ROWS * WIDTH
        here = Touched.of(shard)
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        there = Touched(**json.loads(told(other)))

    # Both have all of it, and neither has a page that the other has not.
    for each in (here, there):
        assert abs(each.resident - BYTES) < SLACK
        assert each.private < SLACK


def test_a_shard_that_may_not_be_read_is_not_said_to_be_missing(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors calls every file missing that it cannot open."""

    def missing(path: str, **_: object) -> None:
        raise FileNotFoundError(f"No such file or directory: {path}")

    def forbid(path: Path, _: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shard_reader, "safe_open", missing)
    monkeypatch.setattr(Path, "open", forbid)
    with pytest.raises(SourceNotFound, match=r"model\.safetensors cannot be read: Permission"):
        ShardReader(shard.parent)

    shard.unlink()
    monkeypatch.undo()
    with pytest.raises(SourceNotFound, match="holds neither"):
        ShardReader(shard.parent)
