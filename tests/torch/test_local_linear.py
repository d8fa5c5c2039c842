"""A linear layer computes the same whatever form its weight has, and packs only what fits."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from neuron_runtime.torch_backend.local_linear import LocalLinear  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
packs = pytest.mark.skipif(
    torch.backends.quantized.engine not in ("x86", "fbgemm"), reason="FBGEMM is for x86"
)


def linear(weight: Any, dtype: Any, bias: Any = None) -> LocalLinear:
    layer = LocalLinear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    layer.settle(CPU, dtype)
    return layer


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(96, 40), (40, 96)])
@pytest.mark.parametrize("tokens", [1, 9])
def test_float32_layers_compute_what_was_stored(stored: Any, shape: Any, tokens: int) -> None:
    weight, bias, given = random(*shape).to(stored), random(shape[0]), random(1, tokens, shape[1])
    with torch.inference_mode():
        answer = linear(weight, torch.float32, bias)(given)
    assert answer.dtype is torch.float32
    torch.testing.assert_close(answer, functional.linear(given, weight.float(), bias))


@packs
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_packed_into_as_many(stored: Any) -> None:
    layer = linear(random(64, 32).to(stored), torch.float32)
    assert layer.packed_bytes == 64 * 32 * 2
    assert layer.weight.numel() == 0


def test_weights_that_float16_cannot_hold_are_not_packed() -> None:
    large = random(8, 8).bfloat16()
    large[3, 4] = -70000.0
    for weight in (large, random(8, 8)):
        layer = linear(weight, torch.float32)
        assert layer.packed_bytes == 0
        assert torch.equal(layer.weight.float(), weight.float())


def test_other_precisions_keep_their_weights_as_they_are() -> None:
    weight = random(8, 8).bfloat16()
    layer = linear(weight, torch.bfloat16)
    assert layer.packed_bytes == 0
    assert layer.weight.data_ptr() == weight.data_ptr()


@packs
def test_the_smallest_numbers_lose_next_to_nothing() -> None:
    weight = torch.full((4, 4), 3.1e-6).bfloat16()
    answer = linear(weight, torch.float32)(torch.eye(4))
    assert (answer.t() - weight.float()).abs().max() <= 2.0**-25
