"""AVX-512 gives the bits that AVX2 gives, for every number of rows and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from neuron_runtime.torch_backend.native.library import Threads, kernels  # noqa: E402
from neuron_runtime.torch_backend.native.packed_weight import (  # noqa: E402
    Format,
    PackedWeight,
)

LIBRARY = kernels()

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        LIBRARY is None or not LIBRARY.cx_use_vnni(True), reason="this CPU has no AVX-512 VNNI"
    ),
]

SHAPES = ((96, 64), (24, 64), (37, 100), (9, 33), (8, 32), (1, 5), (130, 576))
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 41, 70)


@pytest.fixture(scope="module")
def threads() -> Iterator[Threads]:
    made = Threads(LIBRARY, 2)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def vnni() -> Iterator[None]:
    yield
    assert LIBRARY is not None
    LIBRARY.cx_use_vnni(True)


def products(packed: PackedWeight, threads: Threads, rows: Any) -> tuple[Any, Any]:
    """Return the products with AVX2 and with AVX-512."""
    assert LIBRARY is not None
    LIBRARY.cx_use_vnni(False)
    narrow = packed.multiply(threads, rows)
    LIBRARY.cx_use_vnni(True)
    return narrow, packed.multiply(threads, rows)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", [Format.INT8, Format.INT4])
def test_both_give_the_same_bits(form: Format, shape: tuple[int, int], threads: Threads) -> None:
    made = torch.Generator().manual_seed(9)
    weight = torch.randn(*shape, generator=made)
    for bias in (None, torch.randn(shape[0], generator=made)):
        packed = PackedWeight(LIBRARY, weight, bias, form)
        for count in ROWS:
            narrow, wide = products(packed, threads, torch.randn(count, shape[1], generator=made))
            assert torch.equal(narrow, wide), count


@pytest.mark.parametrize("form", [Format.INT8, Format.INT4])
def test_the_largest_numbers_are_summed_without_overflow(form: Format, threads: Threads) -> None:
    weight = torch.ones(16, 2048)
    weight[::2] = -1
    weight[:, ::32] *= 0.5  # four bits need two levels
    packed = PackedWeight(LIBRARY, weight, None, form)
    for rows in (torch.ones(8, 2048), -torch.ones(8, 2048)):
        narrow, wide = products(packed, threads, rows)
        assert torch.equal(narrow, wide)
        torch.testing.assert_close(wide, rows @ weight.T, rtol=0.01, atol=0)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("form", [Format.INT8, Format.INT4])
def test_one_row_does_not_reach_the_others(form: Format, value: float, threads: Threads) -> None:
    made = torch.Generator().manual_seed(10)
    packed = PackedWeight(LIBRARY, torch.randn(40, 96, generator=made), None, form)
    rows = torch.randn(9, 96, generator=made)
    alone = [products(packed, threads, row[None])[1] for row in rows]
    rows[4] = value
    _, wide = products(packed, threads, rows)

    assert all(torch.equal(wide[i], alone[i][0]) for i in range(9) if i != 4)
    assert value or not wide[4].any()
