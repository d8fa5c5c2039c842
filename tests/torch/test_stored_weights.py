"""Weights that their files call otherwise, or hold in another form, are those of the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

pytest.importorskip("torch")
import torch
import transformers
from safetensors.torch import load_file, save_file

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.transformers_runner import TransformersRunner
from tests.torch.feeder import Feeder
from tests.torch.test_parity import NEW_TOKENS, expected, prompts, shard

pytestmark = pytest.mark.torch

VOCABULARY = 211
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    rank = TorchBackend(on_collective=lambda: None)
    yield rank
    rank.close()


def save(model_class: str, config: Any, directory: Path) -> Any:
    """Save a random model as transformers itself does; return it."""
    torch.manual_seed(3)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config).eval()
    model.save_pretrained(directory)
    return model


def rewrite(directory: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = directory / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def amend(directory: Path, **fields: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def gpt2(directory: Path) -> Any:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512}
    small = {name: SMALL[name] for name in ("bos_token_id", "eos_token_id", "initializer_range")}
    config = transformers.GPT2Config(vocab_size=VOCABULARY, **sizes, **small)
    model = save("GPT2LMHeadModel", config, directory)

    def as_published(tensors: Tensors) -> Tensors:
        return {name.removeprefix("transformer."): each for name, each in tensors.items()}

    rewrite(directory, as_published)
    return model


def pythia(directory: Path) -> Any:
    model = save("GPTNeoXForCausalLM", transformers.GPTNeoXConfig(**SMALL), directory)
    assert "embed_out.weight" in load_file(directory / "model.safetensors")
    return model


def gemma3(directory: Path) -> Any:
    """A text model within one that sees, too, under the names of its publisher."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = SMALL | {"sliding_window": 24, "query_pre_attn_scalar": 16}
    text["layer_types"] = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, tie_word_embeddings=False
    )
    model = save("Gemma3ForConditionalGeneration", config, directory)
    assert "language_model.model.norm.weight" in load_file(directory / "model.safetensors")
    return model


@pytest.mark.parametrize("kind", [gpt2, pythia, gemma3])
def test_tensors_under_other_names_are_found(
    kind: Callable[[Path], Any], backend: TorchBackend, tmp_path: Path
) -> None:
    model = kind(tmp_path)
    backend.load(shard(tmp_path))
    asked = prompts(VOCABULARY)
    wanted = [expected(model, prompt) for prompt in asked]
    assert Feeder(backend).generate(asked, NEW_TOKENS, chunk=13) == wanted


@pytest.mark.parametrize("kind", [gpt2, pythia])
def test_a_tensor_that_has_no_name_at_all_is_missed(
    kind: Callable[[Path], Any], backend: TorchBackend, tmp_path: Path
) -> None:
    kind(tmp_path)

    def without_first_norm(tensors: Tensors) -> Tensors:
        return {
            name: each
            for name, each in tensors.items()
            if ".0.ln_1" not in name and ".0.input_layernorm" not in name
        }

    rewrite(tmp_path, without_first_norm)
    with pytest.raises(BackendError, match=r"has no tensor .*0\.(ln_1|input_layernorm)"):
        backend.load(shard(tmp_path))


def test_an_expert_that_is_not_there_is_missed(backend: TorchBackend, tmp_path: Path) -> None:
    """transformers would make one up."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    save("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(**SMALL, **experts), tmp_path)

    def without_experts(tensors: Tensors) -> Tensors:
        return {n: each for n, each in tensors.items() if "layers.1.mlp.experts" not in n}

    rewrite(tmp_path, without_experts)
    with pytest.raises(BackendError, match=r"has no tensor .*layers\.1\.mlp\.experts"):
        backend.load(shard(tmp_path))


def in_eight_bits(directory: Path) -> None:
    """Write linear layers as FP8 checkpoints hold them: a scale for each block of 32 by 32."""

    def rounded(tensors: Tensors) -> Tensors:
        found: Tensors = {}
        for name, each in tensors.items():
            if not name.endswith("proj.weight"):
                found[name] = each
                continue
            rows, columns = each.shape
            blocks = each.reshape(rows // 32, 32, columns // 32, 32).transpose(1, 2)
            scale = blocks.abs().amax((2, 3)) / 448
            eight = (blocks / scale[:, :, None, None]).transpose(1, 2).reshape(rows, columns)
            found[name] = eight.contiguous().to(torch.float8_e4m3fn)
            found[f"{name}_scale_inv"] = scale
        return found

    rewrite(directory, rounded)
    amend(
        directory,
        quantization_config={
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [32, 32],
        },
    )


def test_eight_bits_are_read_with_their_scales(backend: TorchBackend, tmp_path: Path) -> None:
    save("Qwen3ForCausalLM", transformers.Qwen3Config(**SMALL), tmp_path)
    in_eight_bits(tmp_path)
    exact = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    ).float()
    backend.load(shard(tmp_path))
    asked = prompts(VOCABULARY)
    wanted = [expected(exact.eval(), prompt) for prompt in asked]
    assert Feeder(backend).generate(asked, NEW_TOKENS) == wanted


@pytest.mark.parametrize("method", ["compressed-tensors", "gptq", "bitsandbytes"])
def test_other_quantized_weights_are_refused_before_they_are_read(
    method: str, backend: TorchBackend, tmp_path: Path
) -> None:
    """Their numbers without what belongs to them would be another model's."""
    transformers.Qwen3Config(**SMALL).save_pretrained(tmp_path)
    amend(tmp_path, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(BackendError, match=f"Qwen3ForCausalLM cannot be run: .*{method}"):
        backend.load(shard(tmp_path))


@pytest.mark.parametrize(
    ("kind", "more", "dtype"),
    [
        ("Glm4Moe", {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}, "bfloat16"),
        (
            "Ernie4_5_Moe",
            {"moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 0},
            "bfloat16",
        ),
        ("GptOss", {"num_local_experts": 4, "num_experts_per_tok": 2}, "float16"),
    ],
)
def test_what_sixteen_bits_would_spoil_is_kept_exact(
    kind: str, more: dict[str, Any], dtype: str, backend: TorchBackend, tmp_path: Path
) -> None:
    """A bias that decides between experts, of which differences count that are finer."""
    sizes = {"moe_intermediate_size": 32, "first_k_dense_replace": 0} | more
    config = getattr(transformers, f"{kind}Config")(**SMALL, **sizes)
    save(f"{kind}ForCausalLM", config, tmp_path)
    wanted = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=getattr(torch, dtype)
    ).state_dict()
    backend.load(msgspec.structs.replace(shard(tmp_path), dtype=dtype))
    assert backend._model is not None
    held = cast("TransformersRunner", backend._model.runner)._module.state_dict()
    assert {name: each.dtype for name, each in held.items()} == {
        name: each.dtype for name, each in wanted.items()
    }
    assert torch.float32 in {each.dtype for each in held.values()}
