"""A rank without memory for a step says so, and smaller steps give the same tokens."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.backends.base import BackendError, DeviceLost
from neuron_runtime.engine.events import Drawn, Ended
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.scheduler import Scheduler
from neuron_runtime.engine.sequence import Ending, FinishReason, Sequence
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.rank_errors import step_errors
from tests.torch.conftest import MakeModel
from tests.torch.feeder import Feeder
from tests.torch.test_backend import shard
from transports.failures import FailureCode
from transports.schemas.link import Failure

pytestmark = pytest.mark.torch

PROMPTS = (tuple(range(3, 43)), tuple(range(50, 85)))
NEW_TOKENS = 6
IMPOSSIBLE = 1 << 50


class Tight:
    """A runner on a device that has no memory for more than ``most`` tokens at once."""

    def __init__(self, runner: Any, most: int) -> None:
        self._runner, self._most = runner, most
        self.sizes: list[int] = []

    def forward(self, batch: Any) -> Any:
        self.sizes.append(len(batch.tokens))
        if len(batch.tokens) > self._most:
            torch.empty(IMPOSSIBLE)
        return self._runner.forward(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


@pytest.fixture(scope="module")
def model_dir(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture(params=[True, False], ids=["kernels", "torch"])
def backend(
    model_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TorchBackend]:
    if not request.param:
        monkeypatch.setattr("neuron_runtime.torch_backend.model_builder.kernels", lambda: None)
    backend = TorchBackend(on_collective=lambda: None)
    backend.load(shard(model_dir, kv_bytes=8 << 20))
    yield backend
    backend.close()


def tighten(backend: TorchBackend, most: int) -> Tight:
    assert backend._model is not None
    runner = Tight(backend._model.runner, most)
    backend._model = replace(backend._model, runner=runner)
    return runner


def serve(backend: TorchBackend) -> tuple[dict[int, list[int]], dict[int, Ending]]:
    """Serve all prompts at once as an engine does; return their outputs and ends."""
    assert backend._ready is not None
    scheduler = Scheduler(Limits())
    scheduler.configure(256, [], backend._ready.kv_blocks)
    scheduler.group_ready()
    for number, prompt in enumerate(PROMPTS, 1):
        assert scheduler.submit(Sequence(number, prompt, max_tokens=NEW_TOKENS)) is None
    outputs: dict[int, list[int]] = {}
    ends: dict[int, Ending] = {}
    while (step := scheduler.next_step(0.0)) is not None:
        try:
            events = scheduler.step_done(backend.step(step).tokens, 1.0)
        except BackendError as error:
            events = scheduler.step_failed(error.code, error.message)
        scheduler.check_integrity()
        for event in events:
            match event:
                case Drawn():
                    outputs.setdefault(event.sequence.id, []).append(event.token)
                case Ended(sequence, end):
                    ends[sequence.id] = end
    return outputs, ends


def test_steps_are_halved_until_they_fit_and_the_tokens_are_the_same(
    backend: TorchBackend,
) -> None:
    wanted = Feeder(backend).generate(PROMPTS, NEW_TOKENS)
    backend.clear()
    runner = tighten(backend, most=19)
    outputs, ends = serve(backend)
    assert [outputs[1], outputs[2]] == wanted
    assert set(ends.values()) == {FinishReason.LENGTH}
    refused = [size for size in runner.sizes if size > 19]
    assert refused
    assert len(refused) <= 4
    assert all(size <= 19 for size in runner.sizes[len(refused) :])


def test_what_fits_in_no_step_ends_with_the_failure(backend: TorchBackend) -> None:
    tighten(backend, most=0)
    outputs, ends = serve(backend)
    assert outputs == {}
    codes = [end.code for end in ends.values() if isinstance(end, Failure)]
    assert codes == [FailureCode.OUT_OF_MEMORY] * len(PROMPTS)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        torch.OutOfMemoryError("no"),
        OSError(errno.ENOMEM, "no"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_word_for_no_memory_is_understood(error: Exception) -> None:
    with pytest.raises(BackendError) as refusal, step_errors(0):
        raise error
    assert refusal.value.code == FailureCode.OUT_OF_MEMORY


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EIO, "a disk")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, step_errors(0):
        raise error
    assert raised.value is error


class Stream:
    """A GPU's, after ``fault`` if there was one."""

    def __init__(self, fault: str | None) -> None:
        self._fault = fault

    def query(self) -> bool:
        if self._fault is not None:
            raise torch.AcceleratorError(self._fault)
        return True


@pytest.mark.parametrize("fault", [None, "CUDA error: an illegal memory access was encountered"])
def test_a_gpu_that_answers_nothing_any_more_is_lost(
    fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later step would fail as well, and each request be called its culprit."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream(fault))
    expected = IndexError if fault is None else DeviceLost
    with pytest.raises(expected), step_errors(0):
        raise IndexError("whatever it was in")
