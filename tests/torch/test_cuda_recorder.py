"""What ``CudaRecorder`` asks of CUDA and in which order, with a stand-in for CUDA itself.

Whether CUDA then does what it is asked, test_on_a_gpu.py shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.graphs.cuda_recorder import LEAST_FREE_BYTES, CudaRecorder
from neuron_runtime.torch_backend.graphs.recorder import NoRoom

pytestmark = pytest.mark.torch

GPU = torch.device("cuda", 1)


class StandIn:
    """Stands for ``torch.cuda``: one current stream, and a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.current: Any = FakeStream("main", self.diary)
        self.free = 4 * LEAST_FREE_BYTES
        self.pools = 0
        self.putting_aside: list[str] = []
        self.users: Counter[str] = Counter()

    def stream_named(self, device: torch.device) -> FakeStream:
        assert device == GPU
        return FakeStream("side", self.diary)

    @contextmanager
    def in_stream(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextmanager
    def graph(
        self, graph: Any, *, pool: str, stream: Any, capture_error_mode: str
    ) -> Iterator[None]:
        """Like torch, leaves stream and allocator as they are where the computation fails."""
        assert capture_error_mode == "thread_local"
        before, self.current = self.current, stream
        self.putting_aside.append(pool)
        self.users[pool] += 1
        graph.pool = pool
        yield
        self.putting_aside.remove(pool)
        self.current = before

    def set_stream(self, stream: Any) -> None:
        self.current = stream

    def memory(self, device: torch.device) -> tuple[int, int]:
        assert device == GPU
        self.diary.append("is judged")
        return self.free, 80 << 30

    def new_pool(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"

    def end(self, device: int, pool: str) -> None:
        assert device == 1
        if pool not in self.putting_aside:
            raise RuntimeError("not currently recording")
        self.putting_aside.remove(pool)

    def release(self, device: int, pool: str) -> None:
        assert device == 1
        self.users[pool] -= 1


class FakeStream:
    def __init__(self, name: str, diary: list[str]) -> None:
        self.name, self._diary = name, diary

    def wait_stream(self, other: FakeStream) -> None:
        self._diary.append(f"{self.name} waits for {other.name}")


class FakeGraph:
    pool = ""


class Result:
    """What a computation returns, on the device."""

    stream: Any = None

    def record_stream(self, stream: Any) -> None:
        self.stream = stream


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    for name, value in {
        "Stream": stand_in.stream_named,
        "stream": stand_in.in_stream,
        "current_stream": lambda _: stand_in.current,
        "set_stream": stand_in.set_stream,
        "empty_cache": lambda: stand_in.diary.append("lets go"),
        "mem_get_info": stand_in.memory,
        "graph_pool_handle": stand_in.new_pool,
        "graph": stand_in.graph,
        "CUDAGraph": FakeGraph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", stand_in.end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", stand_in.release, raising=False)
    return stand_in


def test_a_computation_runs_between_two_streams(cuda: StandIn) -> None:
    seen: list[str] = []
    made = Result()
    result: Any = made

    def compute() -> torch.Tensor:
        seen.append(cuda.current.name)
        returned: torch.Tensor = result
        return returned

    assert CudaRecorder(GPU).run(compute) is result
    assert seen == ["side"]
    assert cuda.diary == ["side waits for main", "main waits for side"]
    assert made.stream is cuda.current
    assert cuda.current.name == "main"


def test_graphs_share_a_pool_until_all_are_dropped(cuda: StandIn) -> None:
    recorder, streams = CudaRecorder(GPU), list[str]()
    graphs: list[Any] = [
        recorder.record(lambda: streams.append(cuda.current.name)) for _ in range(2)
    ]
    assert [each.pool for each in graphs] == ["pool 1"] * 2
    assert streams == ["side", "side"]
    recorder.clear()
    again: Any = recorder.record(lambda: None)
    assert again.pool == "pool 2"
    assert cuda.current.name == "main"
    assert cuda.putting_aside == []


def test_a_failed_recording_is_undone(cuda: StandIn) -> None:
    recorder = CudaRecorder(GPU)

    def fail() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    recorder.record(lambda: None)
    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(fail)
    assert cuda.current.name == "main"
    assert cuda.putting_aside == []
    # The graph that has been recorded: torch lets go of the pool when that is destroyed.
    assert cuda.users == {"pool 1": 1}


def test_memory_is_let_go_before_it_is_judged(cuda: StandIn) -> None:
    cuda.free = LEAST_FREE_BYTES - 1
    with pytest.raises(NoRoom, match="255 MB are free on cuda:1"):
        CudaRecorder(GPU).record(lambda: pytest.fail("nothing can be recorded"))
    assert cuda.diary == ["lets go", "is judged"]
