"""Decode steps that are recorded give what they would give unrecorded, and touch nothing else.

The tape behaves as a CUDA graph does: whatever Python does after it was recorded has no effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend import transformers_runner
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.batch import Batch
from neuron_runtime.torch_backend.graphs import decode_graphs
from neuron_runtime.torch_backend.graphs.decode_layout import DecodeLayout, DecodeShape
from neuron_runtime.torch_backend.graphs.recorder import NoRoom, Recording
from neuron_runtime.torch_backend.paged_cache import PagedCache
from neuron_runtime.torch_backend.transformers_runner import TransformersRunner
from tests.torch.churn import BLOCK_TOKENS, BLOCKS, Churn
from tests.torch.conftest import MakeModel
from tests.torch.like_a_gpu import compute_like_a_gpu
from tests.torch.tape_recorder import Tape, TapeRecorder
from tests.torch.test_backend import shard
from transports.schemas.group import Step

pytestmark = pytest.mark.torch

STEPS = 160
BLOCK_BYTES = 3 * 2 * 2 * 8 * 4 * BLOCK_TOKENS
Load = Callable[[TapeRecorder | None], TorchBackend]


@pytest.fixture(scope="module")
def small(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture
def load(small: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A loader of the model with as many blocks as the churn has, recorded or not."""

    def loaded(recorder: TapeRecorder | None) -> TorchBackend:
        compute_like_a_gpu(monkeypatch, recorder)
        backend = TorchBackend(on_collective=lambda: None)
        spare = 0 if recorder is None else 1
        kv_bytes = (BLOCKS + spare) * BLOCK_BYTES
        backend.load(shard(small, kv_bytes=kv_bytes, block_tokens=BLOCK_TOKENS))
        assert cache_of(backend).blocks == BLOCKS
        for tensor in kept_by(backend):
            # What the warm-up has left is no sequence's.
            tensor.zero_()
        return backend

    return loaded


def cache_of(backend: TorchBackend) -> PagedCache:
    assert backend._model is not None
    return backend._model.cache


def kept_by(backend: TorchBackend) -> list[torch.Tensor]:
    """All blocks that sequences are given, layer by layer."""
    cache = cache_of(backend)
    return [tensor[:BLOCKS] for tensor in (*cache.keys, *cache.values)]


def runner_of(backend: TorchBackend) -> TransformersRunner:
    assert backend._model is not None
    assert isinstance(backend._model.runner, TransformersRunner)
    return backend._model.runner


def drawn(backend: TorchBackend, step: Step) -> list[tuple[int, int]]:
    return [(each.sequence, each.token) for each in backend.step(step).tokens]


def feed_both(plain: TorchBackend, recorded: TorchBackend, seed: int, steps: int) -> None:
    for step in Churn(seed).steps(steps):
        assert drawn(recorded, step) == drawn(plain, step)


def compare(load: Load, recorder: TapeRecorder, seed: int = 1) -> None:
    """Feed the same steps with and without graphs; outputs and blocks must be the same."""
    plain, recorded = load(None), load(recorder)
    feed_both(plain, recorded, seed, STEPS)
    for mine, wanted in zip(kept_by(recorded), kept_by(plain), strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-3, atol=1e-4)
        assert torch.equal(mine == 0, wanted == 0)
    plain.close()
    recorded.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_comes_and_goes_gets_the_same_tokens_and_only_its_own_blocks(
    load: Load, seed: int
) -> None:
    recorder = TapeRecorder()
    compare(load, recorder, seed)
    # Of one to nine sequences of up to 90 tokens, in blocks of four.
    assert 5 <= recorder.recordings <= 5 * 3
    assert recorder.runs == recorder.recordings


class PadsIntoTheFirstBlock(DecodeLayout):
    """Takes block 0 for one that belongs to nobody."""

    def __init__(self, block_tokens: int, spare: int) -> None:
        super().__init__(block_tokens, 0)


class KeepsTables(DecodeLayout):
    """Believes that whoever had a row has it still."""

    kept: dict[DecodeShape, torch.Tensor]

    def __init__(self, block_tokens: int, spare: int) -> None:
        super().__init__(block_tokens, spare)
        self.kept = {}

    def packed(self, batch: Batch, shape: DecodeShape) -> torch.Tensor:
        packed = super().packed(batch, shape)
        tables = self.kept.setdefault(shape, packed[2 * shape.rows :].clone())
        packed[2 * shape.rows :] = tables
        return packed


class RoundsBlocksDown(DecodeLayout):
    """Leaves a row's last blocks out."""

    def shape(self, batch: Batch) -> DecodeShape | None:
        shape = super().shape(batch)
        return shape and DecodeShape(shape.rows, min(shape.blocks, 8))


class PadsInFront(DecodeLayout):
    """Puts the sequences into the last rows."""

    def packed(self, batch: Batch, shape: DecodeShape) -> torch.Tensor:
        inputs = self.inputs(super().packed(batch, shape), shape)
        parts = (inputs.tokens, inputs.positions, inputs.tables)
        spare = shape.rows - len(batch.tokens)
        return torch.cat([each.roll(spare, 0).flatten() for each in parts]).int()


class FeedsTheLastTokensAgain(DecodeLayout):
    """Forgets that padding rows of this step were sequences in another."""

    last: dict[DecodeShape, torch.Tensor]

    def __init__(self, block_tokens: int, spare: int) -> None:
        super().__init__(block_tokens, spare)
        self.last = {}

    def packed(self, batch: Batch, shape: DecodeShape) -> torch.Tensor:
        packed, count = super().packed(batch, shape), len(batch.tokens)
        if shape in self.last:
            before = self.last[shape]
            packed[count : shape.rows] = before[count : shape.rows]
            packed[shape.rows + count : 2 * shape.rows] = before[
                shape.rows + count : 2 * shape.rows
            ]
            at = 2 * shape.rows + count * shape.blocks
            packed[at:] = before[at:]
        self.last[shape] = packed
        return packed


class TakesWhatIsNotDrawn(DecodeLayout):
    """Returns the logits of the first rows, whichever were wanted."""

    def shape(self, batch: Batch) -> DecodeShape | None:
        if len(batch.spans) != len(batch.tokens):
            return None
        every = torch.arange(len(batch.tokens), dtype=torch.int32)
        return super().shape(
            Batch(batch.tokens, batch.positions, batch.slots, batch.tables, every, batch.spans)
        )


@pytest.mark.parametrize(
    ("mistaken", "error"),
    [
        (PadsIntoTheFirstBlock, AssertionError),
        (KeepsTables, AssertionError),
        (RoundsBlocksDown, RuntimeError),
        (PadsInFront, AssertionError),
        (FeedsTheLastTokensAgain, AssertionError),
        (TakesWhatIsNotDrawn, ValueError),
    ],
)
def test_a_layout_with_a_mistake_is_found_out(
    load: Load,
    mistaken: type[DecodeLayout],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transformers_runner, "DecodeLayout", mistaken)
    with pytest.raises(error):
        compare(load, TapeRecorder())


def test_a_model_that_has_slept_is_recorded_anew(load: Load) -> None:
    """A tape that was kept would go on in the memory that the cache had before."""
    recorder = TapeRecorder()
    plain, recorded = load(None), load(recorder)
    for seed in (1, 2):
        feed_both(plain, recorded, seed, 60)
        before = recorder.recordings
        plain.clear()
        recorded.sleep()
        assert recorder.cleared == seed
        recorded.wake()
    assert before > 4
    plain.close()
    recorded.close()


def test_there_are_only_so_many(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_graphs, "MOST_GRAPHS", 2)
    recorder = TapeRecorder()
    recorded = load(recorder)
    for step in Churn(1).steps(60):
        recorded.step(step)
        graphs = runner_of(recorded)._graphs
        assert graphs is not None
        assert len(graphs) <= 2
    assert recorder.recordings > 4
    recorded.close()


class FailsWhen(TapeRecorder):
    """Cannot record once it has recorded so many."""

    def __init__(self, count: int, error: Exception) -> None:
        super().__init__()
        self._count, self._error = count, error

    def record(self, compute: Callable[[], object]) -> Recording:
        if self.recordings == self._count:
            self.fails = self._error
        return super().record(compute)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_cannot_be_recorded_is_computed_as_without_graphs(
    load: Load, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FailsWhen(count, RuntimeError("operation not permitted when stream is capturing"))
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        compare(load, recorder)
    (line,) = [each.message for each in caplog.records]
    assert line.startswith("decode steps are not recorded as graphs: RuntimeError: operation not")
    assert recorder.recordings == count
    # What had been recorded is not used either, for the failure may have harmed it.
    assert recorder.cleared >= 1


def test_without_room_for_more_those_that_there_are_go_on(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FailsWhen(4, NoRoom("3 MB are free on cuda:0"))
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        compare(load, recorder)
    (line,) = [each.message for each in caplog.records]
    assert line == "no more decode graphs than 4: 3 MB are free on cuda:0"
    assert recorder.recordings == 4
    assert recorder.cleared == 1  # when it was closed


class Forgetful(TapeRecorder):
    """Its replays compute nothing."""

    def record(self, compute: Callable[[], object]) -> Tape:
        compute()
        self.recordings += 1
        return Tape()


class Raising(TapeRecorder):
    """Cannot even compute."""

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("no such stream")


@pytest.mark.parametrize(
    ("recorder", "why"), [(Forgetful(), "a replay is off by"), (Raising(), "no such stream")]
)
def test_a_replay_that_is_wrong_is_noticed_at_load(
    load: Load, recorder: TapeRecorder, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "cortex.torch"):
        compare(load, recorder)
    (line,) = [each.message for each in caplog.records]
    assert why in line


class OutOfMemory(TapeRecorder):
    """Has no memory for the third shape's first pass."""

    def run(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        if self.runs == 2:
            self.runs += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().run(compute)


def test_without_memory_for_a_step_graphs_are_let_go_and_the_step_can_be_repeated(
    load: Load,
) -> None:
    recorder = OutOfMemory()
    plain, recorded = load(None), load(recorder)
    with pytest.raises(BackendError, match="CUDA out of memory") as refused:
        feed_both(plain, recorded, 1, 60)
    assert refused.value.code == "out_of_memory"
    graphs = runner_of(recorded)._graphs
    assert graphs is not None
    assert len(graphs) == 0
