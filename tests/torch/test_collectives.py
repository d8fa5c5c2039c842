"""One suite for every way in which ranks work together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.distributed as dist  # noqa: E402

from neuron_runtime import last_act  # noqa: E402
from neuron_runtime.torch_backend.collectives import Alone, ProcessGroup  # noqa: E402
from neuron_runtime.torch_backend.cpu_mesh import CpuMesh, MeshError  # noqa: E402
from tests.torch import gloo_rank  # noqa: E402
from tests.torch.copies import Copies  # noqa: E402
from tests.torch.gloo_rank import GlooTask, exercise  # noqa: E402

pytestmark = pytest.mark.torch


def _in_threads(world_size: int, place: Path, work: Callable[[CpuMesh], None]) -> None:
    def rank(number: int) -> None:
        store = dist.FileStore(str(place / "meeting"), world_size)  # type: ignore[attr-defined]
        mesh = CpuMesh.join(store, number, world_size, 10.0, 10.0)
        try:
            work(mesh)
        finally:
            mesh.leave()

    with ThreadPoolExecutor(world_size) as pool:
        for done in [pool.submit(rank, number) for number in range(world_size)]:
            done.result(30.0)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_a_cpu_mesh_adds_up_and_gathers(tmp_path: Path, world_size: int) -> None:
    _in_threads(world_size, tmp_path, exercise)


@pytest.mark.process
def test_a_gloo_process_group_adds_up_and_gathers(copies: Copies, tmp_path: Path) -> None:
    tasks = [GlooTask(str(tmp_path / "meeting"), rank) for rank in range(2)]
    assert copies.work(gloo_rank.MODULE, tasks, tmp_path, 60.0) == [b"right", b"right"]


def test_a_single_rank_needs_nobody() -> None:
    exercise(Alone())
    Alone().leave()


def test_ranks_stay_in_step_over_many_operations(tmp_path: Path) -> None:
    def work(mesh: CpuMesh) -> None:
        for number in range(300):
            part = torch.full((7,), float(number * (mesh.rank + 1)))
            assert torch.equal(mesh.add_up(part), torch.full((7,), number * 6.0))

    _in_threads(3, tmp_path, work)


def test_a_rank_that_leaves_is_noticed_at_once(tmp_path: Path) -> None:
    left = threading.Event()

    def work(mesh: CpuMesh) -> None:
        if mesh.rank == 1:
            mesh.leave()
            left.set()
            return
        assert left.wait(10.0)
        with pytest.raises(MeshError):
            mesh.add_up(torch.ones(3))

    _in_threads(2, tmp_path, work)


def test_every_rank_gets_the_same_bits(tmp_path: Path) -> None:
    results: dict[int, Any] = {}

    def work(mesh: CpuMesh) -> None:
        generator = torch.Generator().manual_seed(mesh.rank)
        results[mesh.rank] = mesh.add_up(torch.randn(1000, generator=generator))

    _in_threads(3, tmp_path, work)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


def everybody(world_size: int) -> Any:
    """Return a store at which all ranks have been seen."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    for rank in range(world_size):
        store.set(f"rank/{rank}", "")
    return store


def test_ranks_of_nccl_are_connected_before_they_have_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diary: list[Any] = []
    monkeypatch.setattr(last_act, "_acts", [])
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: diary.append(backend))
    monkeypatch.setattr(dist, "barrier", lambda *, device_ids: diary.append(device_ids))
    ProcessGroup.join(everybody(2), 1, 2, "nccl", 3)
    assert diary == ["nccl", [3]]


def test_a_group_that_lacks_a_rank_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: pytest.fail("too early"))
    store = everybody(1)
    store.set_timeout(timedelta(seconds=0.1))
    with pytest.raises(RuntimeError, match="timeout"):
        ProcessGroup.join(store, 0, 2, "nccl")


@pytest.mark.parametrize(("backend", "aborts"), [("nccl", 1), ("gloo", 0)])
def test_only_a_group_of_nccl_is_aborted_when_its_rank_is_to_end(
    monkeypatch: pytest.MonkeyPatch, backend: str, aborts: int
) -> None:
    aborted: list[str] = []
    monkeypatch.setattr(last_act, "_acts", [])
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "barrier", lambda *_, **__: None)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(
        dist.distributed_c10d, "_abort_process_group", lambda: aborted.append(backend)
    )
    ProcessGroup.join(everybody(2), 0, 2, backend)
    last_act.perform()

    assert aborted == [backend] * aborts
