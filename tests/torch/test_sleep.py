"""Weights that leave a device and come back, and models that compute the same afterwards."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend import parked_tensors
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.parked_tensors import ParkedTensors, tensors_of
from neuron_runtime.torch_backend.rank import TorchRank
from neuron_runtime.torch_backend.transformers_runner import TransformersRunner
from tests.torch.conftest import MakeModel
from tests.torch.embedding_models import minilm_dir
from tests.torch.embedding_models import shard as embedding_shard
from tests.torch.feeder import Feeder
from tests.torch.test_backend import shard
from transports.schemas.group import EmbedStep, SequenceStep, ShardAsleep, Step

pytestmark = pytest.mark.torch

PROMPTS = ((5, 17, 101, 44, 9, 170), (3, 8), tuple(range(20, 60)))
COUNT = 8


@pytest.fixture(scope="module")
def small(make_model: MakeModel) -> Path:
    return make_model()


def answers(backend: TorchBackend) -> list[list[int]]:
    return Feeder(backend).generate(PROMPTS, COUNT)


def loaded(at: Path, **changes: object) -> TorchBackend:
    backend = TorchBackend(on_collective=lambda: None)
    backend.load(shard(at, **changes))
    return backend


@pytest.mark.parametrize(
    "form", [("float32", "none"), ("float32", "int8"), ("float32", "int4"), ("bfloat16", "none")]
)
def test_a_model_that_has_slept_says_the_same(small: Path, form: tuple[str, str]) -> None:
    backend = loaded(small, dtype=form[0], quant=form[1])
    before = answers(backend)

    for _ in range(2):
        assert backend.sleep() == ShardAsleep(0)
        woken = backend.wake()
        assert woken.kv_bytes > 0
        assert answers(backend) == before
    assert (woken.rank, woken.context_length, woken.eos_token_ids) == (0, 256, (2,))
    backend.close()


def test_keys_and_values_are_given_back_while_it_sleeps(small: Path) -> None:
    backend = loaded(small)
    assert backend._model is not None
    held = weakref.ref(backend._model.cache.keys[0])
    backend.sleep()

    assert held() is None
    assert backend._model.cache.held_bytes == 0
    backend.wake()
    assert backend._model.cache.held_bytes > 0
    backend.close()


def test_nothing_but_waking_is_possible_asleep(small: Path) -> None:
    backend = loaded(small)
    with pytest.raises(BackendError, match="no model sleeps"):
        backend.wake()
    backend.sleep()

    with pytest.raises(BackendError, match="sleeps"):
        backend.step(Step(1, (SequenceStep(1, 0, (5,), blocks=(0,), begin=True),)))
    with pytest.raises(BackendError, match="sleeps"):
        backend.sleep()
    backend.wake()
    assert answers(backend)
    backend.close()


def test_a_device_without_room_for_keys_and_values_is_a_typed_error(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = loaded(small)
    backend.sleep()
    assert backend._model is not None

    def no_room(_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(type(backend._model.cache), "allocate", no_room)
    with pytest.raises(BackendError, match="no room") as refused:
        backend.wake()
    assert refused.value.code == "out_of_memory"
    backend.close()


def vectors(rank: TorchRank, sequences: Sequence[tuple[int, ...]]) -> bytes:
    _, rows = rank.embed(EmbedStep(1, tuple(sequences)))
    return rows


def test_a_model_for_embeddings_sleeps_too() -> None:
    rank = TorchRank(on_collective=lambda: None)
    with pytest.raises(BackendError, match="no model is loaded"):
        rank.sleep()
    rank.load(embedding_shard(minilm_dir()))
    before = vectors(rank, PROMPTS)
    with pytest.raises(BackendError, match="no model sleeps"):
        rank.wake()
    rank.sleep()
    with pytest.raises(BackendError, match="sleeps"):
        vectors(rank, PROMPTS)

    rank.wake()
    assert vectors(rank, PROMPTS) == before
    rank.close()


def test_weights_that_leave_their_device_and_return_are_the_same_to_whoever_holds_them(
    make_model: MakeModel,
) -> None:
    """What happens on a GPU, with another part of the host's memory in the device's place."""
    import torch

    backend = loaded(make_model("qwen3", tie_word_embeddings=True), dtype="bfloat16")
    before = answers(backend)
    assert backend._model is not None
    assert isinstance(backend._model.runner, TransformersRunner)
    module: Any = backend._model.runner._module
    first, last = module.get_input_embeddings().weight, module.get_output_embeddings().weight
    last.data = first.data
    held = [tensor for tensor in tensors_of(module) if tensor.numel()]
    values = [tensor.clone() for tensor in held]
    places = [tensor.data_ptr() for tensor in held]

    parked = ParkedTensors(tensors_of(module), torch.device("cpu"))
    assert not {tensor.data_ptr() for tensor in held} & set(places)
    for tensor, value in zip(held, values, strict=True):
        assert torch.equal(tensor, value)
    # Weights that are tied are held once.
    block = parked._block.nbytes
    once = {tensor.data_ptr(): tensor.nbytes for tensor in held}
    assert sum(once.values()) <= block < sum(once.values()) + 64 * len(once)

    parked.restore()
    assert first.data_ptr() == last.data_ptr()
    assert answers(backend) == before
    backend.close()


def test_what_was_made_during_a_step_moves_too() -> None:
    """As the rotary tables of some models are."""
    import torch

    linear: Any = torch.nn.Linear(4, 4)
    with torch.inference_mode():
        linear.register_buffer("table", torch.ones(3))
        linear.attribute = torch.ones(2)
    table, place = linear.table, linear.table.data_ptr()
    parked = ParkedTensors(tensors_of(linear), torch.device("cpu"))
    assert table.data_ptr() != place
    parked.restore()

    assert table.sum() == 3
    assert torch.ones(4).matmul(linear.weight).shape == (4,)


def test_tensors_of_another_device_are_left_alone() -> None:
    import torch

    linear = torch.nn.Linear(3, 3, device="meta")
    weight = linear.weight
    parked = ParkedTensors(tensors_of(linear), torch.device("cpu"))
    parked.restore()

    assert linear.weight is weight
    assert weight.is_meta


class FullRuntime:
    """Stands for CUDA's runtime where no page can be locked."""

    last_error = 0

    def cudaHostRegister(self, *_: int) -> int:  # noqa: N802 - its name
        self.last_error = 2
        return 2

    def launch(self, *_: object, **__: object) -> None:
        """Do what torch does after it has launched a kernel."""
        error, self.last_error = self.last_error, 0
        if error:
            raise RuntimeError(f"CUDA error {error}")


def test_pages_that_cannot_be_locked_are_blamed_on_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    runtime, block = FullRuntime(), torch.empty(8, dtype=torch.uint8)
    monkeypatch.setattr(parked_tensors, "_cuda_runtime", lambda: runtime)
    monkeypatch.setattr(torch, "ones", runtime.launch)
    assert not parked_tensors._page_lock(block, torch.device("cuda", 0))
    runtime.launch()
