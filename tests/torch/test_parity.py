"""The same greedy tokens as transformers' generate, for every architecture and way to feed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from neuron_runtime.torch_backend.backend import TorchBackend
from tests.torch.feeder import GREEDY, Feeder
from tests.torch.like_a_gpu import compute_like_a_gpu
from tests.torch.tape_recorder import TapeRecorder
from transports.schemas.group import LoadShard

pytestmark = pytest.mark.torch

NEW_TOKENS = 24
_SMALL: dict[str, Any] = {
    "vocab_size": 211,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
_WINDOWS = ["sliding_attention", "full_attention"] * 2

#: Name: config class, and what it has besides the small sizes.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": 24}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-windows": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 24, "layer_types": _WINDOWS},
    ),
    "qwen3": ("Qwen3Config", {}),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        _EXPERTS | {"moe_intermediate_size": 32, "norm_topk_prob": True},
    ),
    "gemma2": ("Gemma2Config", {"sliding_window": 24, "query_pre_attn_scalar": 16}),
    "gemma3": (
        "Gemma3TextConfig",
        {"sliding_window": 24, "query_pre_attn_scalar": 16, "layer_types": _WINDOWS},
    ),
    "phi3": ("Phi3Config", {"hidden_size": 128}),
    # Computes frequencies for later in its first pass, which is the one without weights.
    "phi3-longrope": (
        "Phi3Config",
        {
            "hidden_size": 128,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "factor": 2.0,
                "original_max_position_embeddings": 256,
                "short_factor": [1.1] * 8,
                "long_factor": [1.7] * 8,
            },
        },
    ),
    "gpt-oss": (
        "GptOssConfig",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 24,
            "layer_types": _WINDOWS,
        },
    ),
    # Wider heads in some layers, and the last two attend with the keys of those before.
    "gemma4": (
        "Gemma4TextConfig",
        {
            "sliding_window": 24,
            "layer_types": _WINDOWS,
            "global_head_dim": 32,
            "num_kv_shared_layers": 2,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 211,
            "tie_word_embeddings": False,
        },
    ),
    # More key-value heads in some layers, which only a pass with numbers tells.
    "mimo-v2": (
        "MiMoV2FlashConfig",
        {
            "v_head_dim": 16,
            "sliding_window": 24,
            "layer_types": _WINDOWS,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
    ),
    # One key-value head that its config counts nowhere as such.
    "gpt-bigcode": ("GPTBigCodeConfig", {"n_inner": 96, "head_dim": None}),
}
MakeReference = Callable[[str], tuple[Path, Any]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> MakeReference:
    """A maker of saved random models, with the transformers model that was saved."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in made:
            config_class, extra = ARCHITECTURES[name]
            config = getattr(transformers, config_class)(**_SMALL | extra)
            torch.manual_seed(3)
            model = transformers.AutoModelForCausalLM.from_config(
                config, attn_implementation="eager"
            ).eval()
            directory = tmp_path_factory.mktemp(name)
            model.save_pretrained(directory)
            made[name] = directory, model
        return made[name]

    return make


def shard(directory: Path, quant: str = "none") -> LoadShard:
    return LoadShard(
        str(directory), 0, 1, "cpu", "float32", "", threads=2, quant=quant, kv_bytes=64 << 20
    )


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    rank = TorchBackend(on_collective=lambda: None)
    yield rank
    rank.close()


def prompts(vocabulary: int) -> list[list[int]]:
    """Four prompts of different lengths; with its output one exceeds the windows several times."""
    made = torch.Generator().manual_seed(11)
    return [
        torch.randint(3, vocabulary, (length,), generator=made).tolist()
        for length in (5, 70, 33, 18)
    ]


def expected(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=None,
            pad_token_id=0,
        )
    return list(whole[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batches_whole_and_in_chunks_equal_generate(
    name: str, reference: MakeReference, backend: TorchBackend
) -> None:
    directory, model = reference(name)
    backend.load(shard(directory))
    feeder = Feeder(backend)
    asked = prompts(model.config.vocab_size)
    wanted = [expected(model, prompt) for prompt in asked]
    assert feeder.generate(asked, NEW_TOKENS) == wanted
    assert feeder.generate(asked, NEW_TOKENS, chunk=13) == wanted
    assert feeder.generate(asked[1:2], NEW_TOKENS) == wanted[1:2]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_prefix_that_another_sequence_computed_is_as_good_as_ones_own(
    name: str, reference: MakeReference, backend: TorchBackend
) -> None:
    directory, model = reference(name)
    backend.load(shard(directory))
    feeder = Feeder(backend)
    prompt = prompts(model.config.vocab_size)[1]
    feeder.step(feeder.part(1, prompt, GREEDY))
    shared = feeder.tables[1][:3]
    drawn = feeder.step(feeder.part(2, prompt[48:], GREEDY, shared))[2].token
    output = [drawn]
    while len(output) < NEW_TOKENS:
        output.append(feeder.step(feeder.part(2, output[-1:], GREEDY))[2].token)
    assert output == expected(model, prompt)


@pytest.mark.parametrize("name", ["mistral", "qwen3"])
def test_a_host_without_the_kernels_gives_the_same_tokens(
    name: str,
    reference: MakeReference,
    backend: TorchBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("neuron_runtime.torch_backend.model_builder.kernels", lambda: None)
    directory, model = reference(name)
    backend.load(shard(directory))
    asked = prompts(model.config.vocab_size)
    wanted = [expected(model, prompt) for prompt in asked]
    assert Feeder(backend).generate(asked, NEW_TOKENS, chunk=13) == wanted


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_a_gpu_computes_with_gives_the_same_tokens(
    name: str,
    reference: MakeReference,
    backend: TorchBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fused attention where the rules are plain, and decode steps that are replayed."""
    recorder = TapeRecorder()
    compute_like_a_gpu(monkeypatch, recorder)
    directory, model = reference(name)
    backend.load(shard(directory))
    asked = prompts(model.config.vocab_size)
    wanted = [expected(model, prompt) for prompt in asked]
    assert Feeder(backend).generate(asked, NEW_TOKENS, chunk=13) == wanted
    assert Feeder(backend).generate(asked[1:2], NEW_TOKENS) == wanted[1:2]
    # For four rows, two and one; 94 tokens are within the least number of blocks.
    assert recorder.recordings == 3


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_weights_of_sixteen_bits_run_in_the_kernels_decoder(
    name: str, reference: MakeReference, backend: TorchBackend, tmp_path: Path
) -> None:
    _, model = reference(name)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(tmp_path)
    exact = copy.deepcopy(model)
    for parameter in exact.parameters():
        parameter.data = parameter.data.bfloat16().float()
    backend.load(shard(tmp_path))
    asked = prompts(model.config.vocab_size)
    wanted = [expected(exact, prompt) for prompt in asked]
    assert Feeder(backend).generate(asked, NEW_TOKENS, chunk=13) == wanted


@pytest.mark.parametrize("quant", ["int8", "int4"])
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_rounded_weights_give_the_same_tokens_alone_and_in_a_batch(
    name: str, quant: str, reference: MakeReference, backend: TorchBackend
) -> None:
    directory, model = reference(name)
    backend.load(shard(directory, quant))
    feeder = Feeder(backend)
    asked = prompts(model.config.vocab_size)
    together = feeder.generate(asked, NEW_TOKENS)
    assert together == feeder.generate(asked, NEW_TOKENS, chunk=7)
    assert together == [feeder.generate([prompt], NEW_TOKENS)[0] for prompt in asked]


@pytest.fixture(scope="module")
def smollm2_answers(smollm2: Path) -> list[tuple[list[int], list[int]]]:
    """Prompts, and what generate goes on with."""
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2)
    asked = [
        tokenizer.encode(text)
        for text in ("The capital of France is", "Water boils at", "Once upon a time, there was a")
    ]
    return [(prompt, expected(model, prompt)) for prompt in asked]


@pytest.mark.parametrize("quant", ["none", "int8", "int4"])
def test_smollm2_equals_generate(
    quant: str,
    smollm2: Path,
    smollm2_answers: list[tuple[list[int], list[int]]],
    backend: TorchBackend,
) -> None:
    backend.load(shard(smollm2, quant))
    asked, wanted = [list(column) for column in zip(*smollm2_answers, strict=True)]
    outputs = Feeder(backend).generate(asked, NEW_TOKENS, chunk=4)
    if quant == "none":
        assert outputs == wanted
    else:
        assert [output[0] for output in outputs] == [tokens[0] for tokens in wanted]
