"""What only a GPU can show: graphs are recorded, replayed, dropped, and fail without harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend import model_builder
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.graphs import cuda_recorder
from neuron_runtime.torch_backend.graphs.cuda_recorder import CudaRecorder
from neuron_runtime.torch_backend.graphs.recorder import NoRoom
from neuron_runtime.torch_backend.sampler import DrawRequest, Sampler
from tests.torch.churn import BLOCK_TOKENS, Churn
from tests.torch.conftest import MakeModel
from tests.torch.test_backend import shard
from tests.torch.test_decode_graphs import drawn, kept_by, runner_of
from transports.schemas.group import SampleParams, ShardAsleep

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this host"),
]

GPU = torch.device("cuda", 0)
KV_BYTES = 64 << 20
STEPS = 160


@pytest.fixture(scope="module")
def small(make_model: MakeModel) -> Path:
    return make_model()


def loaded(small: Path, **changes: object) -> TorchBackend:
    backend = TorchBackend(on_collective=lambda: None)
    fields = {"device": "cuda:0", "kv_bytes": KV_BYTES, "block_tokens": BLOCK_TOKENS}
    backend.load(shard(small, **fields | changes))
    return backend


def graphs_of(backend: TorchBackend) -> int:
    graphs = runner_of(backend)._graphs
    return -1 if graphs is None else len(graphs)


@pytest.fixture
def pair(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TorchBackend, ...]]:
    """The same model without graphs and with."""
    with monkeypatch.context() as patch:
        patch.setattr(model_builder, "decode_recorder", lambda *_, **__: None)
        plain = loaded(small)
    recorded = loaded(small)
    assert (graphs_of(plain), graphs_of(recorded)) == (-1, 1)
    yield plain, recorded
    plain.close()
    recorded.close()


def test_graphs_give_the_same_tokens_and_keep_the_same(pair: tuple[TorchBackend, ...]) -> None:
    plain, recorded = pair
    for step in Churn(1).steps(STEPS):
        assert drawn(recorded, step) == drawn(plain, step)
    assert graphs_of(recorded) > 4
    for mine, wanted in zip(kept_by(recorded), kept_by(plain), strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-2, atol=1e-3)


def test_a_cpu_gives_the_same_tokens(small: Path, pair: tuple[TorchBackend, ...]) -> None:
    _, recorded = pair
    on_cpu = loaded(small, device="cpu")
    for step in Churn(2).steps(STEPS):
        assert drawn(recorded, step) == drawn(on_cpu, step)
    on_cpu.close()


def test_a_model_that_has_slept_is_recorded_anew(pair: tuple[TorchBackend, ...]) -> None:
    plain, recorded = pair
    for seed in (1, 2):
        for step in Churn(seed).steps(60):
            assert drawn(recorded, step) == drawn(plain, step)
        assert graphs_of(recorded) > 1
        plain.clear()
        asleep = recorded.sleep()
        assert graphs_of(recorded) == 0
        assert isinstance(asleep, ShardAsleep)
        recorded.wake()


def test_bfloat16_is_recorded(small: Path) -> None:
    backend = loaded(small, dtype="bfloat16")
    for step in Churn(1).steps(60):
        backend.step(step)
    assert graphs_of(backend) > 4
    backend.close()


def test_a_replay_computes_with_what_is_there_now() -> None:
    recorder, given, out = CudaRecorder(GPU), torch.ones(3, device=GPU), torch.zeros(3, device=GPU)
    assert recorder.run(lambda: given * 2).tolist() == [2, 2, 2]
    recording = recorder.record(lambda: out.copy_(given * 2))
    given.fill_(5)
    recording.replay()
    assert out.tolist() == [10, 10, 10]
    other = recorder.record(lambda: out.copy_(given * 3))
    other.replay()
    assert out.tolist() == [15, 15, 15]
    recording.replay()
    assert out.tolist() == [10, 10, 10]


def test_what_cannot_be_recorded_does_no_harm() -> None:
    recorder, given = CudaRecorder(GPU), torch.ones(3, device=GPU)
    stream = torch.cuda.current_stream(GPU)
    with pytest.raises(RuntimeError):
        recorder.record(lambda: given.sum().item())
    assert torch.cuda.current_stream(GPU) == stream
    recorder.clear()
    torch.cuda.empty_cache()
    assert (given * 2).tolist() == [2, 2, 2]
    out = torch.zeros(3, device=GPU)
    recorder.run(lambda: given * 2)
    recorder.record(lambda: out.copy_(given * 2)).replay()
    assert out.tolist() == [2, 2, 2]


def test_without_room_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_recorder, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(NoRoom, match="are free on cuda:0"):
        CudaRecorder(GPU).record(lambda: None)


def test_tokens_are_drawn_there_as_here() -> None:
    logits = torch.randn(4, 500, generator=torch.Generator().manual_seed(1)) * 3
    params = [
        SampleParams(temperature=1.0, seed=3, top_p=0.9),
        SampleParams(temperature=0.7, seed=4, top_k=20, logit_bias=((7, 2.0),)),
        SampleParams(frequency_penalty=0.5, index=2),
        SampleParams(),
    ]
    requests = [DrawRequest(row, each, (5, 7, 7)) for row, each in enumerate(params)]
    assert Sampler().draw(logits.to(GPU), requests) == Sampler().draw(logits, requests)
