"""What cannot be embedded, or served, is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.collectives import Alone
from neuron_runtime.torch_backend.embedding_model import load_embedding_model
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from neuron_runtime.torch_backend.rank import TorchRank
from tests.torch.embedding_models import CONTEXT, WIDTH, save_random, shard
from transports.failures import FailureCode
from transports.schemas.group import EmbedStep, SequenceStep, Step

pytestmark = pytest.mark.torch


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return save_random(tmp_path, "BertModel")


@pytest.mark.parametrize(
    ("sequence", "code"),
    [
        ((), FailureCode.INVALID_REQUEST),
        ((203,), FailureCode.INVALID_REQUEST),
        ((-1,), FailureCode.INVALID_REQUEST),
        ((5,) * (CONTEXT + 1), FailureCode.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_a_sequence_that_cannot_be_embedded_is_refused(
    small: Path, sequence: tuple[int, ...], code: FailureCode
) -> None:
    rank = TorchRank(on_collective=lambda: None)
    rank.load(shard(small))
    with pytest.raises(BackendError) as refusal:
        rank.embed(EmbedStep(1, ((5, 6), sequence)))
    assert refusal.value.code == code
    _, rows = rank.embed(EmbedStep(2, ((5,) * CONTEXT,)))
    assert len(rows) == 4 * WIDTH
    assert rank.embed(EmbedStep(3, ()))[1] == b""


def test_roberta_takes_as_many_tokens_as_it_has_positions_for(tmp_path: Path) -> None:
    at = save_random(tmp_path, "RobertaModel", max_position_embeddings=CONTEXT + 2)
    rank = TorchRank(on_collective=lambda: None)
    assert rank.load(shard(at)).context_length == CONTEXT
    rank.embed(EmbedStep(1, ((5,) * CONTEXT,)))


def test_vectors_that_are_no_numbers_are_an_error(small: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(small / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7] = float("nan")
    save_file(weights, small / "model.safetensors", metadata={"format": "pt"})
    rank = TorchRank(on_collective=lambda: None)
    rank.load(shard(small))
    with pytest.raises(BackendError, match="not finite"):
        rank.embed(EmbedStep(1, ((7,),)))


def test_a_rank_refuses_what_its_model_is_not_for(small: Path, tmp_path: Path) -> None:
    rank = TorchRank(on_collective=lambda: None)
    with pytest.raises(BackendError):
        rank.embed(EmbedStep(1, ((5,),)))
    rank.load(shard(small))
    with pytest.raises(BackendError):
        rank.step(Step(1, (SequenceStep(1, 0, (5,)),)))
    rank.clear()
    rank.close()


def test_the_collective_hook_is_called_in_every_step(small: Path) -> None:
    calls: list[None] = []
    rank = TorchRank(on_collective=lambda: calls.append(None))
    rank.load(shard(small))
    for number in range(3):
        rank.embed(EmbedStep(number, ((5,),)))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"device": "cuda:99"}, FailureCode.INSUFFICIENT_DEVICES, "cuda:99"),
        ({"dtype": "int3"}, FailureCode.LOAD_FAILED, "int3"),
        ({"quant": "int8"}, FailureCode.LOAD_FAILED, "int8"),
    ],
)
def test_a_load_that_cannot_work_names_the_culprit(
    small: Path, changes: dict[str, object], code: FailureCode, named: str
) -> None:
    with pytest.raises(BackendError, match=named) as refusal:
        TorchRank(on_collective=lambda: None).load(shard(small, **changes))
    assert refusal.value.code == code


def _truncate(at: Path) -> None:
    weights = at / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _drop_tensor(at: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(at / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, at / "model.safetensors", metadata={"format": "pt"})


def _rename_kind(at: Path) -> None:
    config = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(json.dumps(config | {"model_type": "no_such_type"}))


def _widen(at: Path) -> None:
    config = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(json.dumps(config | {"hidden_size": 128}))


def _add_unknown_module(at: Path) -> None:
    (at / "modules.json").write_text(json.dumps([{"path": "1_CNN", "type": "x.CNN"}]))


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (_truncate, FailureCode.SOURCE_CORRUPT, r"model\.safetensors"),
        (_drop_tensor, FailureCode.SOURCE_CORRUPT, r"encoder\.layer\.1\.output\.dense\.weight"),
        (_widen, FailureCode.SOURCE_CORRUPT, "do not fit"),
        (_rename_kind, FailureCode.LOAD_FAILED, "no_such_type"),
        (_add_unknown_module, FailureCode.LOAD_FAILED, "CNN"),
    ],
)
def test_files_that_cannot_be_served_are_refused_by_name(
    small: Path, spoil: Callable[[Path], None], code: FailureCode, named: str
) -> None:
    spoil(small)
    with pytest.raises(BackendError, match=named) as refusal:
        TorchRank(on_collective=lambda: None).load(shard(small))
    assert refusal.value.code == code


def test_a_model_whose_halves_cannot_be_parted_is_refused(tmp_path: Path) -> None:
    sizes = {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1}
    at = save_random(tmp_path, "BartModel", **sizes)
    with pytest.raises(BackendError, match="encoder of a bart cannot be used") as refusal:
        TorchRank(on_collective=lambda: None).load(shard(at))
    assert refusal.value.code == FailureCode.LOAD_FAILED


def test_a_model_without_a_plan_is_not_divided(small: Path) -> None:
    import torch

    pair = Alone()
    pair.world_size = 2
    with pytest.raises(PlacementError, match="no tensor-parallel plan; use one device"):
        load_embedding_model(small, pair, torch.device("cpu"), torch.float32)


def test_a_step_without_memory_is_an_error_of_its_own(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def exhaust(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("asked for too much")

    rank = TorchRank(on_collective=lambda: None)
    rank.load(shard(small))
    monkeypatch.setattr("torch.nn.functional.normalize", exhaust)
    with pytest.raises(BackendError, match="asked for too much") as refusal:
        rank.embed(EmbedStep(1, ((5,),)))
    assert refusal.value.code == FailureCode.OUT_OF_MEMORY
    monkeypatch.undo()
    rank.embed(EmbedStep(2, ((5,),)))
