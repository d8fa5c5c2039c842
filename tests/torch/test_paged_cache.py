"""How much memory keys and values take when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend import free_memory, paged_cache
from neuron_runtime.torch_backend.free_memory import free_bytes
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache
from transports.failures import FailureCode

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
SHAPES = (CacheShape(2, 8), CacheShape(2, 8))
BLOCK_TOKENS = 16
BLOCK = 2 * 2 * 2 * 8 * 4 * BLOCK_TOKENS
MB = 1 << 20


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the kernel's own: no control group, 64 MB available."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  999999 kB\nMemFree:  1 kB\nMemAvailable:   65536 kB\n")
    monkeypatch.setattr(free_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    return tmp_path


def group(host: Path, limit: str, used: str) -> None:
    (host / "memory.max").write_text(limit + "\n")
    (host / "memory.current").write_text(used + "\n")


def test_what_the_kernel_calls_available_is_free(host: Path) -> None:
    assert free_bytes(CPU) == 64 * MB


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [
        (str(48 * MB), str(8 * MB), 40 * MB),
        (str(480 * MB), str(8 * MB), 64 * MB),
        ("max", str(8 * MB), 64 * MB),
        (str(8 * MB), str(9 * MB), 0),
        ("rubbish", "0", 64 * MB),
    ],
)
def test_a_control_group_may_leave_less(host: Path, limit: str, used: str, free: int) -> None:
    group(host, limit, used)
    assert free_bytes(CPU) == free


def test_nothing_is_free_where_the_kernel_does_not_say(host: Path) -> None:
    (host / "meminfo").write_text("MemTotal: 5 kB\n")
    assert free_bytes(CPU) == 0


def sized(limit: int, ranks: int = 1) -> PagedCache:
    return PagedCache.sized(SHAPES, BLOCK_TOKENS, torch.float32, CPU, limit, ranks)


@pytest.mark.parametrize("ranks", [1, 4])
def test_without_a_limit_ranks_share_a_part_of_what_is_free(host: Path, ranks: int) -> None:
    cache = sized(0, ranks)
    assert cache.blocks == int(64 * MB * 0.4) // ranks // BLOCK
    assert cache.held_bytes == cache.blocks * BLOCK


def test_without_a_limit_a_large_host_is_not_filled(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paged_cache, "_CPU_LIMIT", 10 * BLOCK)
    assert sized(0).blocks == 10


def test_a_limit_holds_whatever_is_free(host: Path) -> None:
    group(host, "1", "0")
    assert sized(7 * BLOCK + BLOCK - 1).blocks == 7


def test_a_host_without_room_for_a_block_is_refused_with_the_figures(host: Path) -> None:
    group(host, str(BLOCK), "0")
    with pytest.raises(BackendError, match=rf"takes {BLOCK}; {BLOCK} bytes are free") as refusal:
        sized(0)
    assert refusal.value.code == FailureCode.LOAD_FAILED


def test_a_spare_block_is_one_of_those_that_fit(host: Path) -> None:
    cache = PagedCache.sized(SHAPES, BLOCK_TOKENS, torch.float32, CPU, 7 * BLOCK, 1, spare=1)
    assert cache.blocks == 6
    assert len(cache.keys[0]) == len(cache.values[1]) == 7
    assert cache.held_bytes == 7 * BLOCK
    with pytest.raises(BackendError, match="hold no block"):
        PagedCache.sized(SHAPES, BLOCK_TOKENS, torch.float32, CPU, BLOCK, 1, spare=1)


def test_graphs_are_left_a_part_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_cache, "free_bytes", lambda _: 3 << 30)
    monkeypatch.setattr(paged_cache, "_zeros", lambda *_: torch.empty(0))
    gpu, block = torch.device("cuda"), BLOCK
    plain = PagedCache.sized(SHAPES, BLOCK_TOKENS, torch.float32, gpu, 0, 1)
    assert plain.blocks == int(0.85 * (3 << 30)) // block
    recorded = PagedCache.sized(SHAPES, BLOCK_TOKENS, torch.float32, gpu, 0, 1, spare=1)
    assert recorded.blocks == int(0.85 * (2 << 30)) // block - 1
