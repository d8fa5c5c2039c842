"""Which way a layer attends, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.attention import fused_attention
from neuron_runtime.torch_backend.attention.choice import LayerNeeds, Way, choose_attention
from neuron_runtime.torch_backend.attention.fused_trial import why_not_fused
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.paged_cache import CacheShape
from tests.torch.conftest import MakeModel
from tests.torch.feeder import Feeder
from tests.torch.like_a_gpu import compute_like_a_gpu
from tests.torch.test_backend import SMALL_PROMPT, shard

pytestmark = pytest.mark.torch

CPU = LayerNeeds("cpu", "float32", 64, softcap=False, sinks=False, kernels=True)
GPU = replace(CPU, device="cuda", dtype="bfloat16", kernels=False)


@pytest.mark.parametrize(
    ("needs", "way", "why"),
    [
        (CPU, Way.KERNEL, "plain rules"),
        (replace(CPU, kernels=False), Way.GATHERED, "are not here"),
        (replace(CPU, dtype="bfloat16"), Way.GATHERED, "no bfloat16"),
        (replace(CPU, sinks=True), Way.GATHERED, "no sinks"),
        (replace(CPU, softcap=True), Way.GATHERED, "no softcap"),
        (replace(CPU, dim=512), Way.KERNEL, "plain rules"),
        (replace(CPU, dim=12), Way.GATHERED, "8 dimensions at once"),
        (GPU, Way.FUSED, "on cuda"),
        (replace(GPU, dtype="float32"), Way.FUSED, "on cuda"),
        (replace(GPU, dim=256), Way.FUSED, "on cuda"),
        (replace(GPU, dim=320), Way.GATHERED, "256 dimensions, not 320"),
        (replace(GPU, softcap=True, sinks=True), Way.GATHERED, "no softcap and sinks"),
    ],
)
def test_device_and_rules_decide(needs: LayerNeeds, way: Way, why: str) -> None:
    chosen, reason = choose_attention(needs)
    assert chosen is way
    assert why in reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kv_heads", "heads", "dim"), [(2, 8, 16), (4, 4, 80), (1, 6, 256)])
def test_fused_attention_passes_its_trial(
    kv_heads: int, heads: int, dim: int, dtype: torch.dtype
) -> None:
    assert why_not_fused(CacheShape(kv_heads, dim), heads, dtype, torch.device("cpu")) is None


def refuses(*_: Any, **__: Any) -> torch.Tensor:
    raise RuntimeError("no available kernel")


def sees_everything(query: Any, key: Any, value: Any, **_: Any) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(query, key, value)


def is_nothing(query: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return torch.full_like(query, torch.nan)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (refuses, "RuntimeError: no available kernel"),
        (sees_everything, "it is off by"),
        (is_nothing, "it is off by nan"),
    ],
)
def test_where_it_does_not_work_blocks_are_gathered(
    broken: Callable[..., torch.Tensor],
    why: str,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, backend = make_model(), TorchBackend(on_collective=lambda: None)
    compute_like_a_gpu(monkeypatch, None)
    backend.load(shard(model))
    wanted = Feeder(backend).generate([SMALL_PROMPT], 8)
    backend.close()

    monkeypatch.setattr(fused_attention, "scaled_dot_product_attention", broken)
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        backend.load(shard(model))
        assert Feeder(backend).generate([SMALL_PROMPT], 8) == wanted
    (line,) = [each.message for each in caplog.records]
    assert why in line
    assert "is not used for CacheShape(kv_heads=2, dim=8)" in line
    backend.close()
