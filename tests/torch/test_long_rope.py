"""A sequence that outgrows its short frequencies has the long ones from its first token on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
import transformers

from neuron_runtime.backends.base import BackendError
from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.sequence import FinishReason, Sequence
from neuron_runtime.torch_backend.backend import TorchBackend
from tests.torch.like_a_gpu import compute_like_a_gpu
from tests.torch.scheduled import answered
from tests.torch.tape_recorder import TapeRecorder
from tests.torch.test_parity import NEW_TOKENS, expected, shard

pytestmark = pytest.mark.torch

SHORT = 64
SMALL: dict[str, Any] = {
    "vocab_size": 211,
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "original_max_position_embeddings": SHORT,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "original_max_position_embeddings": SHORT,
        "short_factor": [1.1] * 8,
        "long_factor": [3.7] * 8,
    },
}
LENGTHS = (5, 50, SHORT - 1, SHORT, SHORT + 1, 150)


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    rank = TorchBackend(on_collective=lambda: None)
    yield rank
    rank.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.Phi3Config(**SMALL), attn_implementation="eager"
    ).eval()
    directory = tmp_path_factory.mktemp("longrope")
    model.save_pretrained(directory)
    return directory, model


def prompts() -> list[list[int]]:
    """All begin alike, so that what one has computed is offered to the others."""
    made = torch.Generator().manual_seed(11)
    longest = torch.randint(3, 211, (max(LENGTHS),), generator=made).tolist()
    return [longest[:length] for length in LENGTHS]


def check(backend: TorchBackend, reference: tuple[Path, Any], limits: Limits) -> None:
    directory, model = reference
    loaded = backend.load(shard(directory))
    assert loaded.short_context == SHORT
    sequences = [
        Sequence(number, tuple(prompt), max_tokens=NEW_TOKENS)
        for number, prompt in enumerate(prompts())
    ]
    ends = answered(backend, loaded, limits, sequences)
    assert set(ends.values()) == {FinishReason.LENGTH}
    assert [each.output for each in sequences] == [expected(model, each) for each in prompts()]


def test_short_and_long_sequences_in_one_batch_equal_generate(
    backend: TorchBackend, reference: tuple[Path, Any]
) -> None:
    check(backend, reference, Limits(prefill_tokens=40, step_tokens=24))


def test_so_they_do_with_what_a_gpu_computes_with(
    backend: TorchBackend, reference: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = TapeRecorder()
    compute_like_a_gpu(monkeypatch, recorder)
    check(backend, reference, Limits(prefill_tokens=40, step_tokens=24))
    assert recorder.recordings


def test_a_model_that_has_it_in_some_layers_is_refused(
    backend: TorchBackend, tmp_path: Path
) -> None:
    own: dict[str, Any] = {**SMALL["rope_parameters"], "factor": 8.0}
    usual = {"rope_type": "default", "rope_theta": 10000.0}
    transformers.Gemma3TextConfig(
        num_hidden_layers=2,
        head_dim=16,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"sliding_attention": usual, "full_attention": own},
    ).save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"Gemma3ForCausalLM cannot be run: .*longrope"):
        backend.load(shard(tmp_path))
