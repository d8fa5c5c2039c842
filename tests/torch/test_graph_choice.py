"""Whose decode steps are recorded, and in which shapes."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.collectives import Alone, ProcessGroup
from neuron_runtime.torch_backend.cpu_mesh import CpuMesh
from neuron_runtime.torch_backend.graphs.choice import (
    decode_recorder,
    experts_by_shape,
    why_not_recorded,
)
from neuron_runtime.torch_backend.graphs.decode_layout import MOST_ROWS, DecodeLayout, DecodeShape

LAYOUT = DecodeLayout(block_tokens=16, spare=99)


@pytest.mark.parametrize(
    ("device", "recordable", "by_shape", "why"),
    [
        ("cuda", True, True, None),
        ("cpu", True, True, "a cpu has no graphs"),
        ("cuda", False, True, "the ranks of this group"),
        ("cuda", True, False, "depends on numbers"),
    ],
)
def test_a_reason_is_given(device: str, recordable: bool, by_shape: bool, why: str | None) -> None:
    found = why_not_recorded(device, recordable=recordable, by_shape=by_shape)
    assert found == why or (why is not None and why in str(found))


def test_only_nccl_can_be_recorded_among_several_ranks() -> None:
    assert Alone().recordable
    assert not CpuMesh.recordable
    assert ProcessGroup(0, 2, recordable=True).recordable


def test_the_log_says_why_a_gpu_records_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        assert decode_recorder(torch.device("cpu"), Alone(), by_shape=True) is None
        assert not caplog.records
        assert decode_recorder(torch.device("cuda"), Alone(), by_shape=False) is None
    (line,) = [each.message for each in caplog.records]
    assert "depends on numbers" in line


def test_a_recorder_that_cannot_be_had_is_no_reason_not_to_load(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError("no stream could be made")

    monkeypatch.setattr("neuron_runtime.torch_backend.graphs.choice.CudaRecorder", fail)
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        assert decode_recorder(torch.device("cuda"), Alone(), by_shape=True) is None
    assert "no stream could be made" in caplog.text


@pytest.mark.parametrize(
    ("implementation", "dtype", "is_so"),
    [
        ("grouped_mm", torch.bfloat16, True),
        ("grouped_mm", torch.float16, False),
        ("eager", torch.bfloat16, False),
        (None, torch.bfloat16, False),
    ],
)
def test_grouped_products_of_experts_ask_for_no_numbers(
    implementation: str | None, dtype: torch.dtype, is_so: bool
) -> None:
    config = SimpleNamespace(_experts_implementation=implementation)
    assert experts_by_shape(config, dtype) is is_so


def batch(*positions: int, count: int = 1, wanted: int | None = None) -> Batch:
    spans = tuple(
        Span(row * count, (row + 1) * count, position, row)
        for row, position in enumerate(positions)
    )
    rows = count * len(positions)
    tables = torch.arange(rows * 400, dtype=torch.int32).view(rows, 400)
    return Batch.of(spans, list(range(rows)), list(range(rows))[:wanted], tables)


@pytest.mark.parametrize(
    ("positions", "shape"),
    [
        ((0,), (1, 8)),
        ((127,), (1, 8)),
        ((128,), (1, 16)),
        ((3, 255, 9), (4, 16)),
        ((0,) * 5, (8, 8)),
        ((256,) * 8, (8, 32)),
        ((6000,), (1, 512)),
        ((1,) * MOST_ROWS, (MOST_ROWS, 8)),
    ],
)
def test_shapes_are_the_next_powers_of_two(
    positions: tuple[int, ...], shape: tuple[int, int]
) -> None:
    assert LAYOUT.shape(batch(*positions)) == DecodeShape(*shape)


@pytest.mark.parametrize(
    "other",
    [
        batch(3, 4, count=2),
        batch(3, 4, wanted=1),
        batch(*(1,) * (MOST_ROWS + 1)),
    ],
    ids=["several tokens of one", "logits of one only", "too many"],
)
def test_other_steps_are_not_for_a_graph(other: Batch) -> None:
    assert LAYOUT.shape(other) is None


def test_rows_without_a_sequence_know_the_spare_block_only() -> None:
    three = batch(3, 40, 9)
    packed = LAYOUT.packed(three, DecodeShape(4, 8))
    inputs = LAYOUT.inputs(packed, DecodeShape(4, 8))
    assert inputs.tokens.tolist() == [0, 1, 2, 0]
    assert inputs.positions.tolist() == [3, 40, 9, 0]
    assert inputs.tables.tolist() == [
        [0] * 8,
        [400, 401, 402] + [400] * 5,
        [800] * 8,
        [99] * 8,
    ]
