"""Vectors are those of transformers' own model, pooled, whatever else is in the batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.engine.embedding_facts import EmbeddingFacts
from neuron_runtime.engine.embedding_tokenizer import EmbeddingTokenizer
from neuron_runtime.torch_backend.collectives import Alone
from neuron_runtime.torch_backend.embedding_model import load_embedding_model
from neuron_runtime.torch_backend.length_buckets import length_buckets
from neuron_runtime.torch_backend.parallel_plan import PlacementError
from neuron_runtime.torch_backend.rank import TorchRank
from tests.torch.embedding_models import CONTEXT, WIDTH, add_modules, minilm_dir, save_random
from tests.torch.embedding_rank import EmbeddingJob, run_group
from transports.failures import FailureCode
from transports.schemas.group import EmbedStep, LoadShard, SequenceStep, Step

pytestmark = pytest.mark.torch

SEQUENCES = ((5, 17, 101, 44, 9, 170), (3,), (8, 8, 90, 2), tuple(range(1, 60)), (3, 4))
TEXTS = (
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell sharply today.",
    "Shares lost a lot of their value in this morning's trading, and nobody could say why.",
)

Pool = Callable[[Any], Any]


def mean(states: Any) -> Any:
    return states.mean(dim=0)


def last(states: Any) -> Any:
    return states[-1]


def first(states: Any) -> Any:
    return states[0]


def most(states: Any) -> Any:
    return states.amax(dim=0)


def shard(at: Path, **changes: object) -> LoadShard:
    fields: dict[str, object] = {
        "model_dir": str(at),
        "rank": 0,
        "world_size": 1,
        "device": "cpu",
        "dtype": "float32",
        "rendezvous": "",
        "threads": 1,
    }
    return LoadShard(**(fields | changes))  # type: ignore[arg-type]


def embed(at: Path, *steps: Sequence[tuple[int, ...]], **changes: object) -> list[Any]:
    """Load a rank and return the vectors of each step."""
    import torch

    rank = TorchRank(on_collective=lambda: None)
    rank.load(shard(at, **changes))
    answers = []
    for number, sequences in enumerate(steps):
        done, rows = rank.embed(EmbedStep(number, tuple(sequences)))
        assert (done.step, done.rank) == (number, 0)
        vectors = torch.frombuffer(bytearray(rows), dtype=torch.float32)
        answers.append(vectors.reshape(len(sequences), done.dimensions))
    rank.close()
    return answers


def reference(at: Path, sequences: Sequence[tuple[int, ...]], pool: Pool) -> Any:
    """Compute the vectors one by one with transformers' own model."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(at, dtype=torch.float32).eval()
    with torch.no_grad():
        states = [model(torch.tensor([each])).last_hidden_state[0] for each in sequences]
    return torch.nn.functional.normalize(torch.stack([pool(each) for each in states]), dim=1)


def assert_near(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    import torch

    torch.testing.assert_close(got, expected, rtol=0.0, atol=tolerance)


# -- the real model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> Path:
    return minilm_dir()


def test_minilm_gives_transformers_vectors_and_the_expected_order(minilm: Path) -> None:
    tokens = EmbeddingTokenizer.load(minilm).encode(TEXTS)
    (vectors,) = embed(minilm, tokens)

    assert vectors.shape == (4, 384)
    assert_near(vectors, reference(minilm, tokens, mean))
    near = vectors @ vectors.T
    assert near[0, 1] > 0.5
    assert near[0, 2] < 0.3
    assert near[2, 3] > 0.4
    assert near[0, 3] < 0.3


def test_minilms_tokens_are_those_of_transformers(minilm: Path) -> None:
    from transformers import AutoTokenizer

    long = "word " * 200
    theirs = AutoTokenizer.from_pretrained(minilm)([*TEXTS, long])["input_ids"]
    assert EmbeddingTokenizer.load(minilm).encode([*TEXTS, long]) == [tuple(ids) for ids in theirs]


def test_minilms_files_say_what_it_takes_and_gives(minilm: Path) -> None:
    assert EmbeddingFacts.load(minilm) == EmbeddingFacts(256, 30522, 384)
    rank = TorchRank(on_collective=lambda: None)
    assert rank.load(shard(minilm)).context_length == 256
    rank.close()


# -- architectures and recipes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_name", "sizes", "pool"),
    [
        ("BertModel", {}, mean),
        ("BertForMaskedLM", {}, mean),
        ("RobertaModel", {"max_position_embeddings": CONTEXT + 2}, mean),
        ("MPNetModel", {"max_position_embeddings": CONTEXT + 2}, mean),
        ("ModernBertModel", {"global_attn_every_n_layers": 2, "pad_token_id": 0}, mean),
        ("LlamaModel", {"num_key_value_heads": 2}, last),
        ("Qwen3Model", {"num_key_value_heads": 2, "head_dim": 16}, last),
    ],
)
def test_without_files_that_say_more_the_architecture_decides(
    tmp_path: Path, class_name: str, sizes: dict[str, Any], pool: Pool
) -> None:
    at = save_random(tmp_path, class_name, **sizes)
    (vectors,) = embed(at, SEQUENCES)
    assert vectors.shape == (len(SEQUENCES), WIDTH)
    assert_near(vectors, reference(at, SEQUENCES, pool))


@pytest.mark.parametrize(
    ("mode", "pool"),
    [("mean_tokens", mean), ("cls_token", first), ("lasttoken", last), ("max_tokens", most)],
)
def test_the_files_pooling_is_used_also_for_a_decoder_with_a_head(
    tmp_path: Path, mode: str, pool: Pool
) -> None:
    at = add_modules(save_random(tmp_path, "LlamaForCausalLM"), mode)
    (vectors,) = embed(at, SEQUENCES)
    assert_near(vectors, reference(at, SEQUENCES, pool))


def test_projections_are_applied_in_order(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    at = add_modules(
        save_random(tmp_path, "BertModel"), "mean_tokens", (WIDTH, 32, "Tanh"), (32, 16, "Identity")
    )
    one, two = (load_file(at / name / "model.safetensors") for name in ("2_Dense", "3_Dense"))

    def project(states: Any) -> Any:
        hidden = torch.tanh(one["linear.weight"] @ mean(states) + one["linear.bias"])
        return two["linear.weight"] @ hidden

    (vectors,) = embed(at, SEQUENCES)
    assert vectors.shape == (len(SEQUENCES), 16)
    assert_near(vectors, reference(at, SEQUENCES, project))


def test_an_encoder_of_two_halves_uses_the_first(tmp_path: Path) -> None:
    import torch
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(7)
    sizes = {"vocab_size": 203, "d_model": WIDTH, "d_kv": 16, "d_ff": 96, "num_heads": 4}
    T5EncoderModel(T5Config(num_layers=2, **sizes)).save_pretrained(tmp_path)
    model = T5EncoderModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = [model(torch.tensor([each])).last_hidden_state[0] for each in SEQUENCES]
    expected = torch.nn.functional.normalize(torch.stack([mean(each) for each in states]), dim=1)

    (vectors,) = embed(tmp_path, SEQUENCES)
    assert_near(vectors, expected)


def test_a_model_whose_halves_cannot_be_parted_is_refused(tmp_path: Path) -> None:
    sizes = {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1}
    at = save_random(tmp_path, "BartModel", **sizes)
    with pytest.raises(BackendError, match="encoder of a bart cannot be used") as refusal:
        TorchRank(on_collective=lambda: None).load(shard(at))
    assert refusal.value.code == FailureCode.LOAD_FAILED


# -- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_name", ["BertModel", "LlamaModel"])
def test_a_vector_does_not_depend_on_its_batch(tmp_path: Path, class_name: str) -> None:
    import torch

    at = save_random(tmp_path, class_name)
    random = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, CONTEXT, (40,), generator=random).tolist()
    batch = [tuple(torch.randint(0, 203, (n,), generator=random).tolist()) for n in lengths]
    together, backwards, *alone = embed(at, batch, batch[::-1], *[[each] for each in batch])

    assert_near(together, torch.cat(alone))
    assert_near(together, backwards.flip(0))
    assert_near(together.norm(dim=1), torch.ones(len(batch)))


def test_buckets_hold_each_sequence_once_and_waste_little() -> None:
    lengths = [1, 300, 17, 16, 301, 512, 400, 16, 2, 250]
    buckets = length_buckets(lengths, 800)

    assert sorted(index for bucket in buckets for index in bucket) == list(range(len(lengths)))
    for bucket in buckets:
        longest = lengths[bucket[0]]
        assert len(bucket) * longest <= 800 or len(bucket) == 1
        assert all(0 <= longest - lengths[i] <= max(16, longest // 4) for i in bucket)
    assert length_buckets([], 800) == []
    assert length_buckets([900, 900], 800) == [[0], [1]]


# -- several ranks ------------------------------------------------------------------------------


@pytest.mark.process
def test_two_ranks_embed_as_one(tmp_path: Path) -> None:
    import torch

    at = save_random(tmp_path / "model", "LlamaModel", num_key_value_heads=2)
    meeting = (tmp_path / "meeting").as_uri()
    step = EmbedStep(1, SEQUENCES)
    jobs = [
        EmbeddingJob(shard(at, rank=rank, world_size=2, rendezvous=meeting), step)
        for rank in range(2)
    ]
    leader, follower = run_group(jobs)

    assert (leader.error, follower.error) == ("", "")
    rows = torch.frombuffer(bytearray(leader.row_bytes), dtype=torch.float32)
    assert_near(rows.reshape(len(SEQUENCES), WIDTH), embed(at, SEQUENCES)[0])
    assert follower.row_bytes == b""
    whole = TorchRank(on_collective=lambda: None).load(shard(at)).weight_bytes
    assert leader.weight_bytes < whole


def test_a_model_without_a_plan_is_not_divided(small: Path) -> None:
    import torch

    pair = Alone()
    pair.world_size = 2
    with pytest.raises(PlacementError, match="no tensor-parallel plan; use one device"):
        load_embedding_model(small, pair, torch.device("cpu"), torch.float32)


# -- refusals -----------------------------------------------------------------------------------


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
