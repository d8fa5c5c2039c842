"""Which way a layer attends, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from neuron_runtime.torch_backend.attention.choice import LayerNeeds, Way, choose_attention

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
