"""How often the model is passed in each step, which ranks of a group must agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.graphs import decode_graphs
from neuron_runtime.torch_backend.graphs.decode_graphs import DecodeGraphs
from neuron_runtime.torch_backend.graphs.decode_layout import DecodeInputs, DecodeLayout
from neuron_runtime.torch_backend.graphs.recorder import NoRoom, Recording

pytestmark = pytest.mark.torch


class Replay:
    def __init__(self, passes: list[str]) -> None:
        self._passes = passes

    def replay(self) -> None:
        self._passes.append("replay")


class Recorder:
    """As on a GPU: what is computed while it records is not computed then."""

    def __init__(self, passes: list[str]) -> None:
        self._passes = passes
        self.fails: Exception | None = None

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()

    def record(self, compute: Callable[[], object]) -> Recording:
        if self.fails is not None:
            raise self.fails
        before = list(self._passes)
        compute()
        self._passes[:] = before
        return Replay(self._passes)

    def clear(self) -> None:
        """Nothing is shared."""


class Rank:
    """One rank's graphs, and what passes it has made."""

    def __init__(self) -> None:
        self.passes: list[str] = []
        self.recorder = Recorder(self.passes)
        layout = DecodeLayout(block_tokens=16, spare=50)
        self.graphs = DecodeGraphs(self._compute, self.recorder, layout, torch.device("cpu"))

    def _compute(self, inputs: DecodeInputs) -> torch.Tensor:
        self.passes.append("pass")
        return torch.zeros(len(inputs.tokens), 3)

    def step(self, rows: int) -> str:
        """Feed as many sequences; return the one pass that this took."""
        before = len(self.passes)
        if self.graphs.forward(batch(rows)) is None:
            self.passes.append("eager")
        (made,) = self.passes[before:]
        return made


def batch(rows: int) -> Batch:
    spans = tuple(Span(row, row + 1, 3, row) for row in range(rows))
    tables = torch.arange(rows, dtype=torch.int32)[:, None]
    return Batch.of(spans, [1] * rows, list(range(rows)), tables)


def test_every_step_is_one_pass() -> None:
    rank = Rank()
    assert [rank.step(rows) for rows in (1, 1, 3, 4, 1)] == [
        "pass",
        "replay",
        "pass",
        "replay",
        "replay",
    ]


@pytest.mark.parametrize(
    ("error", "afterwards"),
    [
        (NoRoom("3 MB are free"), ["pass", "eager", "replay", "eager"]),
        (RuntimeError("capturing"), ["pass", "eager", "eager", "eager"]),
    ],
)
def test_also_where_one_rank_can_record_no_more(error: Exception, afterwards: list[str]) -> None:
    rank = Rank()
    assert [rank.step(1), rank.step(1)] == ["pass", "replay"]
    rank.recorder.fails = error
    assert [rank.step(rows) for rows in (2, 2, 1, 4)] == afterwards


def test_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_graphs, "MOST_GRAPHS", 2)
    rank = Rank()
    made: list[Any] = [rank.step(rows) for rows in (1, 2, 1, 4, 1, 2)]
    assert made == ["pass", "pass", "replay", "pass", "replay", "pass"]
    assert len(rank.graphs) == 2


def test_what_was_dropped_is_recorded_again() -> None:
    rank = Rank()
    assert [rank.step(1), rank.step(1)] == ["pass", "replay"]
    rank.graphs.drop()
    assert [rank.step(1), rank.step(1)] == ["pass", "replay"]
