"""Vectors are those of transformers' own model, pooled, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.embedding_facts import EmbeddingFacts
from neuron_runtime.engine.embedding_tokenizer import EmbeddingTokenizer
from neuron_runtime.torch_backend.length_buckets import length_buckets
from neuron_runtime.torch_backend.rank import TorchRank
from tests.torch.copies import Copies
from tests.torch.embedding_models import (
    CONTEXT,
    WIDTH,
    add_modules,
    minilm_dir,
    save_random,
    shard,
)
from tests.torch.embedding_rank import EmbeddingJob, run_group
from transports.schemas.group import EmbedStep

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
def test_two_ranks_embed_as_one(copies: Copies, tmp_path: Path) -> None:
    import torch

    at = save_random(tmp_path / "model", "LlamaModel", num_key_value_heads=2)
    meeting = (tmp_path / "meeting").as_uri()
    step = EmbedStep(1, SEQUENCES)
    jobs = [
        EmbeddingJob(shard(at, rank=rank, world_size=2, rendezvous=meeting), step)
        for rank in range(2)
    ]
    leader, follower = run_group(copies, jobs, tmp_path)

    assert (leader.error, follower.error) == ("", "")
    rows = torch.frombuffer(bytearray(leader.row_bytes), dtype=torch.float32)
    assert_near(rows.reshape(len(SEQUENCES), WIDTH), embed(at, SEQUENCES)[0])
    assert follower.row_bytes == b""
    whole = TorchRank(on_collective=lambda: None).load(shard(at)).weight_bytes
    assert leader.weight_bytes < whole
