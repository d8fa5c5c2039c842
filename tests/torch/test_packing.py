"""Packed weights hold exactly the levels that rounding value by value gives, however stored."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from neuron_runtime.torch_backend.native.library import kernels  # noqa: E402
from neuron_runtime.torch_backend.native.packed_weight import (  # noqa: E402
    BLOCK,
    GROUP,
    Format,
    PackedWeight,
)

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(kernels() is None, reason="the kernels are for x86 with AVX2"),
]

STORED = (torch.float32, torch.bfloat16, torch.float16)


def groups(weight: Any) -> Any:
    """[blocks, groups, BLOCK, GROUP] in float32; what is missing is 0."""
    outputs, inputs = weight.shape
    blocks, count = -(-outputs // BLOCK), -(-inputs // GROUP)
    padded = torch.zeros(blocks * BLOCK, count * GROUP)
    padded[:outputs, :inputs] = weight.float()
    return padded.view(blocks, BLOCK, count, GROUP).transpose(1, 2)


def expected(weight: Any, form: Format) -> tuple[Any, Any, Any]:
    """Levels as bytes, scales and minima, as the format's definition says."""
    given = groups(weight)
    if form is Format.INT8:
        scale = (given.abs().amax(-1) / 127).half()
        least, most, minimum = -127, 127, torch.zeros_like(scale)
    else:
        minimum = given.amin(-1).half()
        scale = ((given.amax(-1) - given.amin(-1)) / 15).half()
        least, most = 0, 15
    used = scale.float()[..., None]
    levels = ((given - minimum.float()[..., None]) / used).round().clamp(least, most)
    return torch.where(used > 0, levels, 0).to(torch.int8), scale, minimum


def held(packed: PackedWeight, form: Format) -> Any:
    """[blocks, groups, BLOCK, GROUP] levels as they lie in memory."""
    per_step = 4
    if form is Format.INT8:
        steps = packed._weight.view(torch.int8).view(-1, GROUP // per_step, BLOCK, per_step)
    else:
        pairs = packed._weight.view(-1, GROUP // per_step // 2, 1, BLOCK, per_step)
        steps = torch.cat([pairs & 15, pairs >> 4], 2).flatten(1, 2).view(torch.int8)
    return steps.transpose(1, 2).flatten(2)


WEIGHTS = {
    "whole": torch.randn(64, 256, generator=torch.Generator().manual_seed(3)),
    "parts": torch.randn(37, 100, generator=torch.Generator().manual_seed(4)) * 0.02,
    "one": torch.tensor([[-0.7]]),
    "large": torch.randn(9, 33, generator=torch.Generator().manual_seed(5)) * 1e4,
    "tiny": torch.randn(9, 70, generator=torch.Generator().manual_seed(6)) * 1e-6,
    "zero": torch.zeros(9, 70),
    "constant": torch.full((9, 70), 0.3),
    "ties": torch.randint(0, 31, (40, 64), generator=torch.Generator().manual_seed(7)) / 2.0,
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("form", [Format.INT8, Format.INT4])
@pytest.mark.parametrize("name", list(WEIGHTS))
def test_levels_are_the_nearest_of_each_group(name: str, form: Format, stored: Any) -> None:
    weight = WEIGHTS[name].to(stored)
    packed = PackedWeight(kernels(), weight, None, form)
    levels, scale, minimum = expected(weight, form)

    assert torch.equal(packed._scale.view_as(scale), scale)
    assert torch.equal(held(packed, form).view_as(levels), levels)
    if form is Format.INT4:
        assert torch.equal(packed._minimum.view_as(minimum), minimum)


@pytest.mark.parametrize("stored", STORED)
def test_half_precision_is_rounded_to_the_nearest(stored: Any) -> None:
    weight = WEIGHTS["parts"].to(stored)
    packed = PackedWeight(kernels(), weight, None, Format.F16)
    lanes = packed._weight.view(torch.float16).view(-1, 100, BLOCK).transpose(1, 2).flatten(0, 1)

    assert torch.equal(lanes[:37], weight.half())
    assert not lanes[37:].any()
