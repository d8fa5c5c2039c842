"""AVX-512 gives the bits that AVX2 gives, for every number of rows and outputs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from neuron_runtime.torch_backend.native.library import (  # noqa: E402
    BatchStruct,
    CacheStruct,
    Threads,
    kernels,
)
from neuron_runtime.torch_backend.native.packed_weight import (  # noqa: E402
    Format,
    PackedWeight,
)

LIBRARY = kernels()

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        LIBRARY is None or not LIBRARY.cx_use_avx512(True), reason="this CPU has no AVX-512 VNNI"
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
def wide_again() -> Iterator[None]:
    yield
    assert LIBRARY is not None
    LIBRARY.cx_use_avx512(True)


def products(packed: PackedWeight, threads: Threads, rows: Any) -> tuple[Any, Any]:
    """Return the products with AVX2 and with AVX-512."""
    assert LIBRARY is not None
    LIBRARY.cx_use_avx512(False)
    narrow = packed.multiply(threads, rows)
    LIBRARY.cx_use_avx512(True)
    return narrow, packed.multiply(threads, rows)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", list(Format))
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


def attended(
    threads: Threads, rows: int, dim: int, heads: tuple[int, int], tokens: int, half: bool
) -> Any:
    """Return what ``rows`` of each of two sequences attend to, of 101 and 75 tokens."""
    assert LIBRARY is not None
    made = torch.Generator().manual_seed(11)
    lengths, dtype = (101, 75), torch.float16 if half else torch.float32
    stride = -(-max(lengths) // tokens)
    shape = (2 * stride, heads[1])
    keys = torch.randn(*shape, dim, tokens, generator=made).to(dtype)
    values = torch.randn(*shape, tokens, dim, generator=made).to(dtype)
    owner = torch.tensor([0] * rows + [1] * rows, dtype=torch.int32)
    position = torch.tensor(
        [length - rows + row for length in lengths for row in range(rows)], dtype=torch.int32
    )
    tables = torch.randperm(2 * stride, generator=made).to(torch.int32)
    query, key, value = (
        torch.randn(2 * rows, count, dim, generator=made) for count in (heads[0], *heads[1:] * 2)
    )
    cache = CacheStruct(keys.data_ptr(), values.data_ptr(), int(half), heads[1], dim, tokens)
    batch = BatchStruct(
        2 * rows, 0, stride, position.data_ptr(), owner.data_ptr(), tables.data_ptr(), None
    )
    found = []
    for window in (0, 20):
        out = torch.empty_like(query)
        code = LIBRARY.cx_attention(
            threads.handle,
            ctypes.byref(cache),
            ctypes.byref(batch),
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            heads[0],
            window,
            dim**-0.5,
            out.data_ptr(),
        )
        assert code == 0
        found.append(out)
    return torch.stack(found)


@pytest.mark.parametrize("half", [True, False], ids=["half", "float"])
@pytest.mark.parametrize("tokens", [8, 16, 32, 48])
@pytest.mark.parametrize("dim", [16, 24, 48, 64, 128])
def test_attention_gives_the_same_bits(dim: int, tokens: int, half: bool, threads: Threads) -> None:
    assert LIBRARY is not None
    for heads in ((1, 1), (2, 1), (9, 3), (8, 2), (5, 1), (7, 1)):
        for rows in (1, 2, 5):
            LIBRARY.cx_use_avx512(False)
            narrow = attended(threads, rows, dim, heads, tokens, half)
            LIBRARY.cx_use_avx512(True)
            wide = attended(threads, rows, dim, heads, tokens, half)
            assert torch.equal(narrow, wide), (heads, rows)
            assert wide.isfinite().all()
