"""A linear layer computes the same whatever form its weight has, and packs only what fits."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from neuron_runtime.torch_backend.local_linear import LocalLinear, WeightForm  # noqa: E402
from neuron_runtime.torch_backend.native.library import Threads, kernels  # noqa: E402

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
packs = pytest.mark.skipif(kernels() is None, reason="the kernels are for x86 with AVX2")


@pytest.fixture(scope="module", params=["kernels", "torch"])
def library(request: pytest.FixtureRequest) -> Any:
    """The kernels, and their absence."""
    return kernels() if request.param == "kernels" else None


def linear(
    weight: Any, dtype: Any, bias: Any = None, quant: str = "none", library: Any = None
) -> LocalLinear:
    layer = LocalLinear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    threads = Threads(library, 2) if library else None
    layer.settle(WeightForm(CPU, dtype, quant, library, threads))
    return layer


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(96, 40), (40, 96)])
@pytest.mark.parametrize("tokens", [1, 9])
def test_float32_layers_compute_what_was_stored(
    stored: Any, shape: Any, tokens: int, library: Any
) -> None:
    weight, bias, given = random(*shape).to(stored), random(shape[0]), random(1, tokens, shape[1])
    with torch.inference_mode():
        answer = linear(weight, torch.float32, bias, library=library)(given)
    assert answer.dtype is torch.float32
    torch.testing.assert_close(answer, functional.linear(given, weight.float(), bias))


@packs
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_packed_into_as_many(stored: Any) -> None:
    layer = linear(random(64, 32).to(stored), torch.float32, library=kernels())
    assert layer.held_bytes == 64 * 32 * 2
    assert layer.weight.numel() == 0


def test_weights_that_float16_cannot_hold_are_not_packed() -> None:
    large = random(8, 8).bfloat16()
    large[3, 4] = -70000.0
    for weight in (large, random(8, 8)):
        layer = linear(weight, torch.float32, library=kernels())
        assert layer.held_bytes == 0
        assert torch.equal(layer.weight.float(), weight.float())


def test_other_precisions_keep_their_weights_as_they_are() -> None:
    weight = random(8, 8).bfloat16()
    layer = linear(weight, torch.bfloat16, library=kernels())
    assert layer.held_bytes == 0
    assert layer.weight.data_ptr() == weight.data_ptr()


@packs
def test_the_smallest_numbers_lose_next_to_nothing() -> None:
    weight = torch.full((4, 4), 3.1e-6).bfloat16()
    answer = linear(weight, torch.float32, library=kernels())(torch.eye(4))
    assert (answer.t() - weight.float()).abs().max() <= 2.0**-25


@pytest.mark.parametrize("tokens", [1, 3, 23])
@pytest.mark.parametrize("shape", [(96, 40), (37, 100), (64, 256)])
def test_eight_bits_are_within_a_hundredth(shape: Any, tokens: int, library: Any) -> None:
    weight, bias, given = random(*shape), random(shape[0]), random(tokens, shape[1])
    answer = linear(weight, torch.float32, bias, "int8", library)(given)
    exact = functional.linear(given, weight, bias)
    assert (answer - exact).norm() / exact.norm() < 0.01


@pytest.mark.parametrize("tokens", [1, 3, 23])
def test_four_bits_hold_what_has_sixteen_levels_a_group(tokens: int, library: Any) -> None:
    levels = torch.randint(0, 16, (40, 64), generator=torch.Generator().manual_seed(5)).float()
    levels[:, ::32], levels[:, 1::32] = 0, 15
    weight, given = levels * 0.125 - 1.0, random(tokens, 64)
    answer = linear(weight, torch.float32, None, "int4", library)(given)
    exact = functional.linear(given, weight)
    assert (answer - exact).norm() / exact.norm() < 0.01


def test_four_bits_round_alike_with_and_without_kernels() -> None:
    weight, given = random(72, 100), torch.eye(100)
    packed = linear(weight, torch.float32, None, "int4", kernels())(given)
    dense = linear(weight, torch.float32, None, "int4")(given)
    torch.testing.assert_close(packed, dense, rtol=0, atol=1e-2)
    assert (dense.t() - weight).abs().max() < 0.3


@packs
@pytest.mark.parametrize("quant", ["none", "int8", "int4"])
def test_a_row_is_the_same_whatever_the_batch(quant: str) -> None:
    layer = linear(random(72, 96).half(), torch.float32, None, quant, kernels())
    rows = random(29, 96)
    together = layer(rows)
    for count in (1, 2, 3, 5, 9):
        assert torch.equal(layer(rows[:count]), together[:count])


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("quant", ["none", "int8", "int4"])
def test_a_rank_may_have_no_part_of_a_small_vocabulary(quant: str, library: Any) -> None:
    layer = linear(torch.empty(0, 40).bfloat16(), torch.float32, None, quant, library)
    assert layer(random(1, 3, 40)).shape == (1, 3, 0)
