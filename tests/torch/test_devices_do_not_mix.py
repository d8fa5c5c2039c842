"""All that a rank computes with is on its GPU, and a step waits for that once: for its tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.attention import places
from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.rank import TorchRank
from neuron_runtime.torch_backend.sampler import DrawRequest, Sampler
from tests.torch.embedding_models import add_modules, save_random
from tests.torch.embedding_models import shard as embedding_shard
from tests.torch.feeder import Feeder
from tests.torch.pretended_gpu import GPU, PretendedGpu, pretend_a_gpu
from tests.torch.test_parity import MakeReference, reference
from transports.schemas.group import EmbedStep, LoadShard, SampleParams

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(torch.cuda.is_available(), reason="test_on_a_gpu.py shows it here"),
]

__all__ = ["reference"]

BLOCK_TOKENS = 4
PROMPTS = ([5, 6, 7] * 5, [9], [11] * 30)
NEW_TOKENS = 4
CHUNK = 16


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    with pretend_a_gpu(monkeypatch) as gpu:
        yield gpu


def loaded(model: Path, device: str, dtype: str = "float32", quant: str = "none") -> TorchBackend:
    backend = TorchBackend(on_collective=lambda: None)
    backend.load(
        LoadShard(
            model_dir=str(model),
            rank=0,
            world_size=1,
            device=device,
            dtype=dtype,
            rendezvous="",
            threads=1,
            kv_bytes=8 << 20,
            quant=quant,
            block_tokens=BLOCK_TOKENS,
        )
    )
    return backend


def generated(backend: TorchBackend) -> list[list[int]]:
    """Feed prompts in chunks, so that steps are of prompts, of both kinds, and of decode."""
    return Feeder(backend, BLOCK_TOKENS).generate(PROMPTS, NEW_TOKENS, chunk=CHUNK)


def warnings_in(log: pytest.LogCaptureFixture) -> list[str]:
    """Return what a rank has told of what it does without."""
    return [each.getMessage() for each in log.records if each.name == "cortex.torch"]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3"])
def test_a_model_computes_on_its_gpu_what_it_does_on_a_cpu(
    name: str,
    reference: MakeReference,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, _ = reference(name)
    expected = generated(loaded(model, "cpu"))
    with caplog.at_level(logging.WARNING), pretend_a_gpu(monkeypatch) as gpu:
        backend = loaded(model, "cuda:0")
        gpu.waits.clear()
        assert generated(backend) == expected
    assert not warnings_in(caplog)
    assert gpu.recordings > 1
    assert set(gpu.waits) == {"sampler.py"}
    assert len(gpu.waits) == NEW_TOKENS + (len(PROMPTS[2]) - 1) // CHUNK


@pytest.mark.parametrize(
    ("name", "dtype", "quant"),
    [
        ("llama", "bfloat16", "int8"),
        ("phi3-longrope", "bfloat16", "none"),
        ("gpt-oss", "bfloat16", "none"),
    ],
)
def test_every_form_of_a_model_is_recorded(
    gpu: PretendedGpu,
    name: str,
    dtype: str,
    quant: str,
    reference: MakeReference,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        backend = loaded(reference(name)[0], "cuda:0", dtype, quant)
        gpu.waits.clear()
        generated(backend)
    assert not warnings_in(caplog)
    assert gpu.recordings > 1
    assert set(gpu.waits) == {"sampler.py"}


def test_what_is_left_on_the_cpu_is_found(
    gpu: PretendedGpu, reference: MakeReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "moved", lambda values, _: values)
    with pytest.raises(RuntimeError, match="on a GPU and of one on the CPU"):
        loaded(reference("llama")[0], "cuda:0")


def test_what_waits_for_a_number_is_not_recorded(
    gpu: PretendedGpu,
    reference: MakeReference,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    homes = DecodePlaces.homes

    def looked_at(self: DecodePlaces) -> tuple[torch.Tensor, torch.Tensor]:
        blocks, offsets = homes(self)
        assert blocks.min().item() >= 0
        return blocks, offsets

    monkeypatch.setattr(DecodePlaces, "homes", looked_at)
    with caplog.at_level(logging.WARNING):
        loaded(reference("llama")[0], "cuda:0")
    (line,) = warnings_in(caplog)
    assert "waits for the device, which a recording cannot" in line
    assert gpu.recordings == 0


MASK = bytes([0b10110110] * 30)
PARAMS = (
    SampleParams(),
    SampleParams(temperature=1.0, seed=3, top_p=0.9),
    SampleParams(temperature=0.7, seed=4, top_k=20, logit_bias=((7, 2.0), (500, 1.0))),
    SampleParams(frequency_penalty=0.5, presence_penalty=0.2, index=2),
    SampleParams(temperature=0.9, seed=5, min_p=0.05, repetition_penalty=1.3, index=1),
    SampleParams(temperature=1.2, seed=6, presence_penalty=0.3),
)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_are_drawn_on_the_gpu_that_has_the_logits(
    gpu: PretendedGpu, dtype: torch.dtype, mask: bytes | None
) -> None:
    made = torch.Generator().manual_seed(1)
    logits = (torch.randn(len(PARAMS), 250, generator=made) * 3).to(dtype)
    requests = [DrawRequest(row, each, (5, 7, 7), mask) for row, each in enumerate(PARAMS)]
    there = logits.to(GPU)
    with torch.inference_mode():
        for rows in (slice(0, None), slice(0, 1), slice(1, 2)):
            gpu.waits.clear()
            drawn = Sampler().draw(there[rows], requests[rows])
            assert len(gpu.waits) == 1
            assert drawn == Sampler().draw(logits[rows], requests[rows])


def test_log_probabilities_are_those_of_a_cpu(gpu: PretendedGpu) -> None:
    logits = torch.randn(2, 250, generator=torch.Generator().manual_seed(1))
    requests = [DrawRequest(row, SampleParams(logprobs=row * 3)) for row in range(2)]
    with torch.inference_mode():
        assert Sampler().draw(logits.to(GPU), requests) == Sampler().draw(logits, requests)


@pytest.mark.parametrize("pooling", ["mean_tokens", "lasttoken"])
def test_embeddings_are_computed_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: str
) -> None:
    model = add_modules(save_random(tmp_path, "BertModel"), pooling, (64, 32, "Tanh"))
    step = EmbedStep(1, ((5, 6, 7), (8,), tuple(range(40))))
    here = TorchRank(on_collective=lambda: None)
    here.load(embedding_shard(model))
    _, expected = here.embed(step)
    with pretend_a_gpu(monkeypatch):
        there = TorchRank(on_collective=lambda: None)
        there.load(embedding_shard(model, device="cuda:0"))
        _, vectors = there.embed(step)
    assert np.frombuffer(vectors, "<f4") == pytest.approx(np.frombuffer(expected, "<f4"), abs=1e-5)
